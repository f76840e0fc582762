"""Learn once more, with the test's rows too, what a twin without them was judged on.

Every split moves up by one: train and dev teach, the test is the new dev. So any trainer can be asked again,
with the same settings, seed and candidate; what it then gives has learnt from the newest rows that count.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.artifact import Answer, Reference, Signature, open_source
from holdfast.registry.candidate import prepare
from holdfast.spec import Checklist
from holdfast.spec.checklist import Training
from holdfast.train.errors import TrainerFailedError
from holdfast.train.rows import TIME
from holdfast.train.storing import Built
from holdfast.train.trainer_process import Order
from holdfast.train.weighting import weighed_like

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER: Final = "refit"
"""In the folder of the training: order, output and model of the second run."""
NOTE: Final = (
    "judged is a twin that had not learnt from these rows; registered is what the trainer made with them; "
    "a rollout decides on that"
)


@dataclass(frozen=True, slots=True)
class Twin:
    """What the model that was judged says of the test."""

    signature: Signature
    answer: Answer

    @classmethod
    def of(
        cls, model: str, test: pa.Table, names: tuple[str, str], checklist: Checklist, *, own: bool
    ) -> Twin:
        """Run a model over the test as it would run if it were registered.

        Args:
            model: its file.
            test: features, label and time.
            names: of the columns with label and time.
            checklist: of the deployment.
            own: it was made by code that the checklist names, so that a pickle is that code's own.

        Raises:
            ArtifactError: it cannot be converted or fed.
        """
        reference = Reference.read(test, label=names[0], time=names[1])
        candidate = prepare(open_source(model, trust_pickle=own), reference, checklist)
        try:
            return cls(candidate.signature, candidate.answer(reference))
        finally:
            candidate.runtime.close()

    def check(self, signature: Signature) -> None:
        """See that the answers can stand for those of a model with this signature.

        Raises:
            TrainerFailedError: it gives other classes.
        """
        if (signature.task, signature.classes) != (self.signature.task, self.signature.classes):
            raise TrainerFailedError(
                "with the test's rows the trainer gave a model of another kind",
                where="[training] refit",
                expected=f"{self.signature.task} {self.signature.classes}",
                received=f"{signature.task} {signature.classes}",
                next_step="A longer train split that holds every class, or refit = false",
            )


@contextmanager
def moved_up(order: Order, built: Built, settings: Training, candidate: int) -> Iterator[Order]:
    """The same order on splits that are moved up by one; their files are gone afterwards.

    Args:
        order: of the model that was judged.
        built: its data set.
        settings: `[training]`, maybe of a diagnosis.
        candidate: that was the best on dev.
    """
    import pyarrow as pa
    from pyarrow import parquet

    folder = Path(order.folder, FOLDER)
    folder.mkdir(mode=0o700)
    splits = {
        "train": pa.concat_tables([built.splits["train"], built.splits["dev"]]).sort_by(TIME),
        "dev": weighed_like(built.splits["train"], built.splits["test"], settings, built.manifest.request),
    }
    paths = {name: folder / f"{name}.parquet" for name in splits}
    try:
        for name, table in splits.items():
            parquet.write_table(table, str(paths[name]), compression="zstd")
        moved = msgspec.structs.replace(
            order.data_set, train=str(paths["train"]), dev=str(paths["dev"]), candidate=candidate
        )
        yield msgspec.structs.replace(order, folder=str(folder), data_set=moved)
    finally:
        for path in paths.values():
            path.unlink(missing_ok=True)
