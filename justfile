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
