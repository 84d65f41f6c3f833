//! Next times as a second implementation has them: Python's croniter, asked by `tests/cron/croniter` beforehand.
