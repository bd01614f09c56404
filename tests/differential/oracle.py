"""Reads a JSON list of configuration texts, answers with upstream's verdict on each.

Run it with the Python of `scripts/pyclient.sh` and our JSON schema as its argument. An answer is
{"ok": normal form} or {"error": text}, and "misfit" says where the text does not fit the schema.
"""

import json
import pathlib
import sys

import jsonschema
import yaml

from dstack._internal.core.models.configurations import parse_apply_configuration

SCHEMA = jsonschema.Draft202012Validator(json.loads(pathlib.Path(sys.argv[1]).read_text()))


def misfit(document):
    error = jsonschema.exceptions.best_match(SCHEMA.iter_errors(document))
    return error and f"{error.json_path}: {error.message}"


def verdict(text):
    document = yaml.safe_load(text)
    try:
        configuration = parse_apply_configuration(yaml.safe_load(text))
        answer = {"ok": json.loads(configuration.model_dump_json())}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    return answer | {"misfit": misfit(document)}


json.dump([verdict(text) for text in json.load(sys.stdin)], sys.stdout)
