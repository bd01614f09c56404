"""Reads a JSON list of configuration texts, answers with upstream's verdict on each.

Run it with the Python of `scripts/pyclient.sh`. An answer is {"ok": normal form} or {"error": text}.
"""

import json
import sys

import yaml

from dstack._internal.core.models.configurations import parse_apply_configuration


def verdict(text):
    try:
        configuration = parse_apply_configuration(yaml.safe_load(text))
        return {"ok": json.loads(configuration.model_dump_json())}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


json.dump([verdict(text) for text in json.load(sys.stdin)], sys.stdout)
