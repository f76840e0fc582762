"""A data set holds the rows that it may hold, says what it left out, and comes out the same again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import parquet
from shop import DAY_US, KEY, START_US, TOML, Shop, open_shop, orders

from holdfast.clock import ManualClock
from holdfast.prediction_log import Label, SpoolWriter, settle
from holdfast.privacy import SubjectStore, open_sealer, subject_pseudonym
from holdfast.registry import Registry
from holdfast.subject import erase_subject
from holdfast.train import (
    Built,
    DataSetError,
    LeakageError,
    Manifest,
    Secrets,
    build_data_set,
    find_manifest,
    rebuild_data_set,
)
from holdfast.train.rows import Plan

PLAN = Plan(
    ("amount", "country", "items"),
    "binary",
    (0, 1),
    {"amount": pa.float64(), "country": pa.string(), "items": pa.int64()},
)
PEOPLE = TOML.replace(
    "[predictions]\n", '[privacy]\nsubject_field = "who"\nconsent_field = "agreed"\n[predictions]\n'
)


def build(shop: Shop, **arguments: Any) -> Built:
    return build_data_set(shop.deployment, PLAN, clock=shop.clock, secrets=shop.secrets, **arguments)


def removed(manifest: Manifest, words: str) -> int:
    return sum(one.rows for one in manifest.removed if words in one.filter)


def history_file(shop: Shop, *, days: int, extra: str = "", late: bool = False) -> Path:
    """A described table of the shop's past."""
    columns, truth = orders(days * 100, seed=3)
    times = [START_US - (days * 100 - row) * DAY_US // 100 for row in range(days * 100)]
    stamp = pa.timestamp("us", tz="UTC")
    table = pa.table(
        {
            **columns,
            "when": pa.array(times, stamp),
            "known": pa.array([at + DAY_US for at in times], stamp),
            "seen": pa.array([at + (2 if late else 0) * DAY_US for at in times], stamp),
            "customer": [f"customer-{row % 50}" for row in range(len(times))],
            "sent_back": truth,
        }
    )
    folder = shop.deployment.folder / "sources"
    folder.mkdir()
    parquet.write_table(table, folder / "history.parquet")
    description = folder / "history.toml"
    told = (
        'path = "history.parquet"\nlicence = "contract 12"\nbasis = "contract"\nkind = "purchased"\n'
        'time = "when"\nlabel = "sent_back"\nlabel_time = "known"\n[observed]\nitems = "seen"\n'
    )
    description.write_text(extra or told)
    text = description.read_text()
    if "subject" not in text:
        description.write_text('subject = "customer"\n' + text)
    shop.secrets = Secrets(pseudonym_key=KEY)
    return description


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = open_shop(tmp_path / "shop", champion=False)
    yield shop
    shop.close()


def test_splits_lie_in_time_with_gaps_of_the_label_delay(shop: Shop) -> None:
    shop.days(0, 30)
    built = build(shop)
    split = {name: built.splits[name].column("time").cast(pa.int64()).to_pylist() for name in built.splits}
    end = max(split["test"])
    assert end - min(split["test"]) < 5 * DAY_US
    assert min(split["test"]) - max(split["dev"]) > 2 * DAY_US
    assert min(split["dev"]) - max(split["train"]) > 2 * DAY_US
    assert max(split["dev"]) - min(split["dev"]) < 5 * DAY_US
    now = built.manifest.request.as_of_us
    assert now - end >= 2 * DAY_US
    rows = sum(len(times) for times in split.values())
    gaps = removed(built.manifest, "gap")
    young = removed(built.manifest, "younger")
    assert rows + gaps + young == 30 * 200
    assert gaps == pytest.approx(2 * 2 * 200, abs=4)
    assert young == pytest.approx(2 * 200, abs=2)


def test_a_data_set_is_built_again_from_its_manifest_bit_by_bit_though_the_log_has_grown(
    shop: Shop, tmp_path: Path
) -> None:
    shop.days(0, 30)
    built = build(shop)
    files = {name: (built.folder / f"{name}.parquet").read_bytes() for name in built.splits}
    writer = SpoolWriter(shop.deployment.log_folder, deployment="shop", replica="later", clock=shop.clock)
    writer.append_labels([Label("order-03-007", 1, 10**16), Label("order-20-007", 0, 10**16)])
    writer.close()
    settle(shop.deployment, shop.clock)
    shop.days(30, 5, turned=True)
    assert build(shop).manifest.sha256 != built.manifest.sha256
    again = rebuild_data_set(
        shop.deployment,
        find_manifest(shop.deployment.datasets_folder, built.manifest.sha256[:8]),
        clock=ManualClock(shop.clock.now_us() + DAY_US),
        secrets=shop.secrets,
        folder=tmp_path / "again",
    )
    assert again.manifest.sha256 == built.manifest.sha256
    assert {name: (again.folder / f"{name}.parquet").read_bytes() for name in files} == files


def test_the_last_revision_of_a_label_counts_and_labels_known_later_do_not_where_that_is_asked(
    shop: Shop,
) -> None:
    shop.days(0, 30)
    late = START_US + 29 * DAY_US
    writer = SpoolWriter(shop.deployment.log_folder, deployment="shop", replica="later", clock=shop.clock)
    known = {row["prediction_id"]: row["label"] for row in build(shop).splits["train"].to_pylist()}
    flipped = 1 - known["order-03-007"]
    writer.append_labels([Label("order-03-007", flipped, late), Label("order-04-007", None, late)])
    writer.close()
    settle(shop.deployment, shop.clock)
    after = {row["prediction_id"]: row["label"] for row in build(shop).splits["train"].to_pylist()}
    assert after == {
        **{name: y for name, y in known.items() if name != "order-04-007"},
        "order-03-007": flipped,
    }
    before = build(shop, labels_known_by_us=late - 1).splits["train"].to_pylist()
    assert {row["prediction_id"]: row["label"] for row in before} == known


def test_only_rows_whose_consent_holds_now_are_used(tmp_path: Path) -> None:
    shop = open_shop(tmp_path / "shop", PEOPLE, champion=False)
    people = [f"customer-{row % 4}" for row in range(200)]
    agreed = [row % 4 != 0 for row in range(200)]
    shop.days(0, 30, context={"who": people, "agreed": agreed})
    pseudonyms = {name: subject_pseudonym(KEY, name) for name in set(people)}
    first = build(shop)
    used = set(first.splits["train"].column("subject").to_pylist())
    assert used == {pseudonyms[f"customer-{number}"] for number in (1, 2, 3)}
    assert first.manifest.consent.refused_rows == 30 * 50
    with SubjectStore(shop.deployment.folder) as store:
        for name, said in (("customer-1", False), ("customer-0", True)):
            store.record_consent(
                agreed=said, subject=pseudonyms[name], at_us=1 + START_US + 29 * DAY_US, now_us=1,
                recorded_by="x",
            )  # fmt: skip
    second = build(shop)
    used = set(second.splits["train"].column("subject").to_pylist())
    assert used == {pseudonyms[f"customer-{number}"] for number in (0, 2, 3)}
    again = rebuild_data_set(
        shop.deployment, second.manifest, clock=shop.clock, secrets=shop.secrets, folder=tmp_path / "again"
    )
    assert again.manifest.sha256 == second.manifest.sha256
    shop.close()


def test_an_erased_subject_is_gone_from_the_files_and_from_every_later_build_and_the_manifest_says_so(
    tmp_path: Path,
) -> None:
    shop = open_shop(tmp_path / "shop", PEOPLE, champion=False)
    people = [f"customer-{row % 4}" for row in range(200)]
    shop.days(0, 30, context={"who": people, "agreed": [True] * 200})
    built = build(shop)
    place = built.folder.relative_to(shop.deployment.folder).as_posix()
    with Registry.open(shop.deployment.registry_url, shop.clock) as registry:
        registry.add_version(
            name="shop", sha256="1" * 64, created_at_us=1, created_by="ann",
            metadata={"data_sets": [f"{place}/train.parquet"]},
        )  # fmt: skip
        signed = erase_subject(
            shop.deployment, registry, "customer-1", pseudonym_key=KEY, signing_key=bytes(32),
            actor="carol", clock=shop.clock,
        )  # fmt: skip
    gone = subject_pseudonym(KEY, "customer-1")
    held = parquet.read_table(built.folder / "train.parquet")
    assert gone not in held.column("subject").to_pylist()
    assert signed.certificate.complete
    assert signed.certificate.trained_with == ("1",)
    manifest = find_manifest(shop.deployment.datasets_folder, built.manifest.sha256)
    erasure = manifest.erasures[0]
    assert erasure.request_id == signed.certificate.request_id
    assert erasure.versions == ("1",)
    assert erasure.rows == manifest.rows // 4
    later = build(shop)
    assert later.manifest.sha256 != built.manifest.sha256
    for table in later.splits.values():
        assert gone not in table.column("subject").to_pylist()
    shop.close()


def test_a_feature_that_was_observed_after_its_label_is_refused_by_name(shop: Shop) -> None:
    history_file(shop, days=40, late=True)
    shop.reopen(TOML + 'sources = ["sources/history.toml"]\n')
    with pytest.raises(LeakageError, match="'items' was observed after its label in 4000 rows") as caught:
        build(shop)
    assert "history.parquet: column 'items'" in str(caught.value)


def test_a_described_file_brings_its_licence_and_basis_and_names_nobody(shop: Shop) -> None:
    history_file(shop, days=40)
    shop.reopen(TOML + 'sources = ["sources/history.toml", "log"]\n')
    shop.days(0, 10)
    built = build(shop)
    file, log = built.manifest.sources
    assert (file.licence, file.basis, file.kind, file.time_column) == (
        "contract 12", "contract", "purchased", "when",
    )  # fmt: skip
    assert (log.name, log.basis, log.rows) == ("log", "not stated", 2000)
    subjects = {one for one in built.splits["train"].column("subject").to_pylist() if one}
    assert subject_pseudonym(KEY, "customer-7") in subjects
    assert not any("customer" in one for one in subjects)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('path = "history.parquet"', "missing required field"),
        ("licence = ", "description is not right"),
        (
            'path = "history.parquet"\nlicence = "x"\nbasis = "hope"\ntime = "when"\nlabel = "sent_back"',
            "basis",
        ),
        (
            'path = "history.parquet"\nlicence = "x"\nbasis = "consent"\ntime = "when"\nlabel = "sent_back"',
            "no column says who agreed",
        ),
        (
            'path = "history.parquet"\nlicence = "x"\nbasis = "contract"\ntime = "day"\nlabel = "sent_back"',
            "no column 'day'",
        ),
    ],
)
def test_a_wrong_description_is_told_in_words(shop: Shop, text: str, match: str) -> None:
    history_file(shop, days=40, extra=text)
    shop.reopen(TOML + 'sources = ["sources/history.toml"]\n')
    with pytest.raises(DataSetError, match=match):
        build(shop)


HEAD = 'path = "odd.parquet"\nbasis = "contract"\ntime = "when"\nlabel = "sent_back"\nlabel_time = "known"\n'


@pytest.mark.parametrize(
    ("column", "values", "text", "match"),
    [
        (None, None, f'licence = ""\n{HEAD}', "length >= 1 - at `\\$.licence`"),
        (None, None, f'licence = "x"\n{HEAD}'.replace("contract", "a feeling"), "legitimate interests"),
        (None, None, f'licence = "x"\n{HEAD}'.replace("odd", "none"), "none.parquet.* no such file"),
        (None, None, f'licence = "x"\n{HEAD}[observed]\nitem = "known"\n', "expected amount, items"),
        ("agreed", "yes", f'licence = "x"\n{HEAD}consent = "agreed"\n', "which of its values mean yes"),
        ("when", "last week", f'licence = "x"\n{HEAD}', "column 'when'.*Invalid isoformat"),
        ("seen", None, f'licence = "x"\n{HEAD}', "column 'seen'.*a model takes none"),
    ],
)
def test_a_wrong_table_is_told_by_its_column_and_what_would_be_right(
    tmp_path: Path, column: str | None, values: str | None, text: str, match: str
) -> None:
    shop = open_shop(tmp_path / "shop", TOML + 'sources = ["sources/odd.toml"]\n', champion=False)
    columns, truth = orders(300, seed=3)
    times = pa.array([START_US - row * DAY_US // 10 for row in range(300)], pa.timestamp("us", tz="UTC"))
    table = pa.table(
        {
            "amount": columns["amount"],
            "items": columns["items"],
            "when": times,
            "known": times,
            "sent_back": truth,
        }
    )
    if column is not None:
        odd = times if values is None else pa.array([values] * 300)
        if column in table.column_names:
            table = table.drop_columns([column])
        table = table.append_column(column, odd)
    folder = shop.deployment.folder / "sources"
    folder.mkdir()
    parquet.write_table(table, folder / "odd.parquet")
    (folder / "odd.toml").write_text(text)
    with pytest.raises(DataSetError, match=match):
        build_data_set(shop.deployment, None, clock=shop.clock, secrets=shop.secrets)
    shop.close()


def test_rows_of_a_table_without_a_time_or_from_the_future_are_counted(tmp_path: Path) -> None:
    shop = open_shop(tmp_path / "shop", TOML + 'sources = ["sources/odd.toml"]\n', champion=False)
    columns, truth = orders(3000, seed=3)
    times: list[int | None] = [START_US - (3000 - row) * DAY_US // 100 for row in range(3000)]
    times[10:17] = [None] * 7
    times[20:25] = [START_US + 900 * DAY_US] * 5
    table = pa.table(
        {
            "amount": columns["amount"],
            "when": pa.array(times, pa.timestamp("us", tz="UTC")),
            "known": pa.array(
                [None if at is None else at + DAY_US for at in times], pa.timestamp("us", tz="UTC")
            ),
            "sent_back": truth,
        }
    )
    folder = shop.deployment.folder / "sources"
    folder.mkdir()
    parquet.write_table(table, folder / "odd.parquet")
    (folder / "odd.toml").write_text(f'licence = "x"\n{HEAD}')
    built = build_data_set(shop.deployment, None, clock=shop.clock, secrets=shop.secrets)
    assert removed(built.manifest, "without a time") == 7
    assert removed(built.manifest, "odd: after") == 5
    shop.close()


def test_too_short_a_history_says_which_lengths_would_do(shop: Shop) -> None:
    shop.days(0, 13)
    with pytest.raises(DataSetError, match='Set dev = "1d" and test = "1d"'):
        build(shop)
    with pytest.raises(DataSetError, match="no labelled row"):
        build(shop, since_us=START_US + 12 * DAY_US)


def test_labels_without_a_row_or_of_no_class_and_rows_without_a_label_are_counted(shop: Shop) -> None:
    shop.days(0, 30)
    writer = SpoolWriter(shop.deployment.log_folder, deployment="shop", replica="later", clock=shop.clock)
    late = START_US + 29 * DAY_US
    writer.append_labels(
        [Label("order-03-007", "maybe", late), Label("order-04-007", None, late), Label("nobody", 1, late)]
    )
    writer.append_labels([Label("order-05-007", 1, START_US)])
    writer.close()
    settle(shop.deployment, shop.clock)
    manifest = build(shop).manifest
    assert removed(manifest, "of no class") == 1
    assert removed(manifest, "without a label") == 1


def test_mature_rows_without_a_label_can_count_as_negative(shop: Shop) -> None:
    shop.days(0, 30)
    writer = SpoolWriter(shop.deployment.log_folder, deployment="shop", replica="later", clock=shop.clock)
    writer.append_labels([Label("order-03-007", None, START_US + 29 * DAY_US)])
    writer.close()
    settle(shop.deployment, shop.clock)
    shop.reopen(TOML + 'unlabelled = "negative"\n')
    built = build(shop)
    row = built.splits["train"].filter(
        pc.equal(built.splits["train"].column("prediction_id"), "order-03-007")
    )
    assert row.column("label").to_pylist() == [0]
    assert any("1 mature rows" in note for note in built.manifest.notes)


def test_young_labels_weigh_one_over_the_share_that_comes_by_their_age(shop: Shop) -> None:
    shop.days(0, 28, label_after_us=DAY_US // 4)
    shop.reopen(TOML + 'immature = "correct"\n')
    built = build(shop)
    weights = built.splits["test"].column("row_weight").to_numpy()
    assert removed(built.manifest, "younger") == 0
    assert weights == pytest.approx(1.0)  # every label comes after six hours: younger rows have none yet


def test_weights_by_age_halve_each_half_life(shop: Shop) -> None:
    shop.days(0, 30)
    shop.reopen(TOML + 'weights = "age"\nhalf_life = "4d"\n')
    splits = build(shop).splits
    train = splits["train"]
    weight = {row["prediction_id"]: row["row_weight"] for row in train.to_pylist()}
    dev = {row["prediction_id"]: row["row_weight"] for row in splits["dev"].to_pylist()}
    day = max(dev)[6:8]
    assert dev[f"order-{day}-007"] / weight[f"order-{int(day) - 8:02d}-007"] == pytest.approx(4.0)
    assert weight["order-08-007"] / weight["order-04-007"] == pytest.approx(2.0)
    assert pc.mean(train.column("row_weight")).as_py() == pytest.approx(1.0)


def test_weights_by_shift_favour_rows_like_those_of_today(shop: Shop) -> None:
    shop.days(0, 30)
    writer = SpoolWriter(shop.deployment.log_folder, deployment="shop", replica="today", clock=shop.clock)
    from holdfast.privacy import PredictionRecord

    record = PredictionRecord(
        model_version="1", arm="champion", prediction_ids=[f"new-{row}" for row in range(3000)],
        times_us=[START_US + 30 * DAY_US - 1 - row for row in range(3000)], latency_us=[1] * 3000,
        inputs={
            "amount": [65.0 + row % 10 for row in range(3000)], "country": ["NL"] * 3000, "items": [3] * 3000,
        },
        context={}, prediction=[0] * 3000,
    )  # fmt: skip
    writer.append(shop.redactor.redact(record))
    writer.close()
    settle(shop.deployment, shop.clock)
    shop.reopen(TOML + 'weights = "shift"\n')
    train = build(shop).splits["train"].to_pandas()
    alike = (train.amount > 62) & (train.country == "NL") & (train["items"] == 3)
    high, low = train[alike].row_weight.mean(), train[train.amount < 50].row_weight.mean()
    assert high > 10 * low


def test_croissant_has_what_1_1_requires_and_no_value_of_a_row(shop: Shop) -> None:
    shop.days(0, 30)
    built = build(shop)
    text = (built.folder / "croissant.json").read_text()
    document = json.loads(text)
    assert document["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    for name in ("@context", "@type", "name", "description", "license", "url", "creator", "datePublished"):
        assert document[name], name
    for one in document["distribution"]:
        path = built.folder / one["contentUrl"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == one["sha256"]
    fields = {field["name"] for field in document["recordSet"][0]["field"]}
    assert {"amount", "country", "items", "label", "time"} <= fields
    assert "order-" not in text


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of what it is made with
def test_the_reader_of_croissant_accepts_it_and_reads_its_rows(shop: Shop) -> None:
    croissant = pytest.importorskip("mlcroissant")
    shop.days(0, 30)
    built = build(shop)
    found = croissant.Dataset(jsonld=str(built.folder / "croissant.json"))
    first = next(iter(found.records("train")))
    assert first["train/amount"] == pytest.approx(built.splits["train"].column("amount")[0].as_py())


def test_near_doubles_and_shared_subjects_across_splits_are_counted(shop: Shop) -> None:
    from holdfast.train.overlapping import overlaps

    def table(amounts: list[float], texts: list[str], subjects: list[str | None]) -> pa.Table:
        return pa.table({"subject": pa.array(subjects, pa.string()), "amount": amounts, "country": texts})

    first = table([10.0, 20.04, 0.0], ["NL", "de ", "FR"], ["a", "b", None])
    second = table([10.001, 20.0, 30.0, 0.0], ["NL", "DE", "FR", "FR"], ["b", None, "c", "b"])
    found = overlaps({"train": first, "test": second}, ("amount", "country"))[0]
    assert (found.near_duplicates, found.same_subject, found.rows) == (3, 2, 4)


def test_a_random_split_is_asked_for_and_keeps_a_subject_on_one_side(tmp_path: Path) -> None:
    shop = open_shop(tmp_path / "shop", PEOPLE + 'split = "random"\n', champion=False)
    people = [f"customer-{row % 40}" for row in range(200)]
    shop.days(0, 20, context={"who": people, "agreed": [True] * 200})
    built = build(shop)
    sides = [set(table.column("subject").to_pylist()) for table in built.splits.values()]
    assert [sides[0] & sides[1], sides[0] & sides[2], sides[1] & sides[2]] == [set()] * 3
    assert any("at random" in note for note in built.manifest.notes)
    shop.close()


def test_labels_from_the_review_queue_are_counted_apart(tmp_path: Path) -> None:
    toml = TOML.replace("[predictions]", '[logging]\ncontext_fields = ["looked"]\n[predictions]')
    shop = open_shop(tmp_path / "shop", toml + 'review_field = "looked"\n', champion=False)
    shop.days(0, 30, context={"looked": [row % 5 == 0 for row in range(200)]})
    built = build(shop)
    train = built.splits["train"]
    assert built.manifest.splits["train"].reviewed == pc.sum(train.column("row_reviewed")).as_py() > 0
    labels = train.filter(train.column("row_reviewed")).column("label").to_pylist()
    assert built.manifest.splits["train"].reviewed_label_mean == pytest.approx(sum(labels) / len(labels))
    shop.close()


def test_encrypted_inputs_are_opened_and_an_unreadable_row_has_none(tmp_path: Path) -> None:
    toml = PEOPLE.replace("subject_field", 'sensitivity = "high"\nsubject_field').replace(
        "[predictions]", '[security]\nauth = "keys"\n[predictions]'
    )
    shop = open_shop(tmp_path / "shop", toml, champion=False)
    people = [f"customer-{row % 4}" for row in range(200)]
    shop.days(0, 30, context={"who": people, "agreed": [True] * 200})
    secrets = {"HOLDFAST_PSEUDONYM_KEY": KEY.decode(), "HOLDFAST_MASTER_KEY": "ab" * 32}
    sealer = open_sealer(shop.deployment.checklist.privacy, shop.deployment.folder, secrets, shop.clock)
    assert sealer is not None
    shop.secrets = Secrets(KEY, sealer)
    with sealer:
        built = build(shop)
    assert built.splits["train"].column("amount").null_count == 0
    assert not built.manifest.files_kept
    assert built.manifest.profile["amount"].minimum is None
    shop.close()
