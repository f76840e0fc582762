# Everything that must hold before a change lands, tests aside.
check:
    uv run --frozen ruff format --check .
    uv run --frozen ruff check .
    uv run --frozen mypy
    uv run --frozen lint-imports

# The formatter and the fixes that are safe.
fix:
    uv run --frozen ruff format .
    uv run --frozen ruff check --fix .

# All tests, as in CI.
test:
    uv run --frozen pytest

# The tests that take seconds.
fast:
    uv run --frozen pytest -m "not slow"

# A wheel with the hot path compiled (docs/adr/0032), in build/, and beside it the same unpacked.
compile:
    rm -rf build/compiled build/dist
    HATCH_BUILD_HOOKS_ENABLE=1 uv build --quiet --out-dir build/dist
    uv run --frozen python -m zipfile -e build/dist/*.whl build/compiled

# The tests of the compiled hot path: those of the rooms that it is in, against what `compile` made.
compiled: compile
    PYTHONPATH=build/compiled uv run --frozen pytest -m "not slow" tests/infer tests/serve
