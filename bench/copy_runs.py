"""Gives upstream's server a past: copies its one finished run until there are COUNT of them.

Usage: copy_runs.py SQLITE_FILE COUNT
Through the API this would take an hour; what a list of runs costs depends on the rows only.
"""

import sqlite3
import sys
import uuid

FIRST = "past-0"


def columns(db, table):
    return [row[1] for row in db.execute(f"pragma table_info({table})")]


def copy(db, table, key, value, changes):
    names = columns(db, table)
    row = dict(zip(names, db.execute(f"select * from {table} where {key} = ?", (value,)).fetchone()))
    row.update(changes)
    marks = ",".join("?" * len(names))
    db.execute(f"insert into {table} values ({marks})", [row[name] for name in names])


def main(path, count):
    db = sqlite3.connect(path, timeout=60)
    first, spec = db.execute("select id, run_spec from runs where run_name = ?", (FIRST,)).fetchone()
    have = db.execute("select count(*) from runs").fetchone()[0]
    for number in range(have, count):
        run, new = uuid.uuid4().hex, f"past-{number}"
        copy(db, "runs", "id", first, {"id": run, "run_name": new, "run_spec": spec.replace(f'"{FIRST}"', f'"{new}"')})
        copy(db, "jobs", "run_id", first, {"id": uuid.uuid4().hex, "run_id": run, "run_name": new})
    db.commit()


main(sys.argv[1], int(sys.argv[2]))
