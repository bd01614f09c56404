"""Calls a running server through the released dstack client and lets its models judge the answers.

Needs a Python with `dstack` 0.22.5 installed: `$(scripts/pyclient.sh)/bin/python`.
Usage: released_client.py URL TOKEN [URL_OF_ANOTHER_REPLICA ...]
A write goes to the first address, each read to all of them in turn. Every answer, and every body that was accepted,
must also fit the server's own description of its API.
"""

import hashlib
import io
import json
import re
import sys
import time
import uuid

import jsonschema
import requests
from dstack._internal.core.errors import ClientError, ResourceNotExistsError, ServerClientError
from dstack._internal.core.models.configurations import TaskConfiguration
from dstack._internal.core.models.fleets import ApplyFleetPlanInput, FleetConfiguration, FleetSpec
from dstack._internal.core.models.profiles import Profile
from dstack._internal.core.models.repos.virtual import VirtualRunRepoData
from dstack._internal.core.models.repos.remote import RemoteRepoCreds
from dstack._internal.core.models.runs import ApplyRunPlanInput, RunSpec
from dstack._internal.server.schemas.logs import PollLogsRequest
from dstack.api.server import APIClient

KEY = None


def generated_key():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    ).decode()
    return {"public": public, "private": private}


class Description:
    """What `/openapi.json` says, held against everything that goes over the wire."""

    def __init__(self, url):
        self.document = requests.get(url + "/openapi.json").json()
        self.paths = [
            (re.compile("^" + re.sub(r"\{[^}]+\}", "[^/]+", path) + "$"), path) for path in self.document["paths"]
        ]
        self.seen = set()
        self.misfits = set()
        send = requests.Session.send

        def watched(session, request, **more):
            answer = send(session, request, **more)
            self.watch(request, answer)
            return answer

        requests.Session.send = watched

    def watch(self, request, answer):
        where = requests.utils.urlparse(request.url).path
        path = next((path for pattern, path in self.paths if pattern.match(where)), None)
        if path is None:
            return
        call = self.document["paths"][path].get(request.method.lower())
        if call is None:
            return
        self.seen.add(path)
        described = call["responses"].get(str(answer.status_code))
        if described is None:
            self.misfits.add(f"{path}: {answer.status_code} is not described")
            return
        self.hold(f"{path} answers {answer.status_code}", described, answer.content)
        if answer.status_code == 200 and request.body and "requestBody" in call:
            self.hold(f"{path} is asked", call["requestBody"], request.body)

    def hold(self, what, described, text):
        body = described["content"].get("application/json")
        if body is None:
            return
        if body["schema"] is True:
            return
        schema = body["schema"] | {"components": self.document["components"]}
        error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(json.loads(text)))
        if error:
            self.misfits.add(f"{what}: {error.json_path}: {error.message[:300]}")

    def judge(self, s):
        def fits():
            assert len(self.seen) > 25, f"only {sorted(self.seen)} were seen"
            assert not self.misfits, "; ".join(sorted(self.misfits))
        s.check(f"{len(self.seen)} calls are as /openapi.json describes them", fits)


class Suite:
    def __init__(self, urls, token):
        self.urls = urls
        self.token = token
        self.writer = APIClient(urls[0], token)
        self.readers = [APIClient(url, token) for url in urls]
        self.failed = 0

    def check(self, name, call):
        try:
            result = call()
            print(f"ok    {name}")
            return result
        except Exception as error:
            self.failed += 1
            print(f"FAIL  {name}: {type(error).__name__}: {str(error)[:1500]}")
            return None

    def everywhere(self, name, call):
        result = None
        for index, reader in enumerate(self.readers):
            result = self.check(f"{name} (replica {index})", lambda: call(reader))
        return result

    def refused(self, name, call, kind=ClientError, text=None):
        def must_refuse():
            try:
                call()
            except kind as error:
                if text and text not in str(error):
                    raise AssertionError(f"message is {error}")
                return
            raise AssertionError("was not refused")

        self.check(name, must_refuse)


def task(name, commands, **more):
    configuration = TaskConfiguration(type="task", name=name, commands=commands, **more)
    return RunSpec(
        run_name=name,
        repo_id="none",
        repo_data=VirtualRunRepoData(),
        configuration_path="task.dstack.yml",
        configuration=configuration,
        profile=Profile(name="default"),
    )


def people(s):
    me = s.everywhere("users/get_my_user", lambda c: c.users.get_my_user())
    assert me and me.creds.token == s.token and me.ssh_private_key and me.ssh_public_key.endswith("\n")
    s.check("users/list", lambda: s.writer.users.list())
    s.everywhere("projects/list", lambda c: c.projects.list())
    s.everywhere("projects/get", lambda c: c.projects.get("main"))
    s.check("projects/get, another case", lambda: s.writer.projects.get("MAIN"))


def secrets(s):
    s.check("secrets/create", lambda: s.writer.secrets.create_or_update("main", "e2e", "one"))
    got = s.everywhere("secrets/get", lambda c: c.secrets.get("main", "e2e"))
    assert got and got.value == "one"
    listed = s.everywhere("secrets/list", lambda c: c.secrets.list("main"))
    assert all(secret.value is None for secret in listed)
    s.check("secrets/delete", lambda: s.writer.secrets.delete("main", ["e2e"]))
    s.refused("secrets/get of none", lambda: s.writer.secrets.get("main", "e2e"), ResourceNotExistsError)


def repos(s):
    s.check("repos/init virtual", lambda: s.writer.repos.init("main", "none", VirtualRunRepoData()))
    from dstack._internal.core.models.repos.remote import RemoteRepoInfo

    info, creds = RemoteRepoInfo(repo_name="demo"), RemoteRepoCreds(clone_url="https://h/x.git", oauth_token="t")
    s.check("repos/init remote", lambda: s.writer.repos.init("main", "demo-1", info, creds))
    got = s.everywhere("repos/get", lambda c: c.repos.get_with_creds("main", "demo-1"))
    assert got is None or got.repo_creds.oauth_token == "t"
    s.refused("repos/get of none", lambda: s.writer.repos.get_with_creds("main", "nope"), ResourceNotExistsError)
    content = uuid.uuid4().bytes * 100
    digest = hashlib.sha256(content).hexdigest()
    one = s.check("files/upload_archive", lambda: s.writer.files.upload_archive(digest, io.BytesIO(content)))
    two = s.check("files/upload_archive again", lambda: s.writer.files.upload_archive(digest, io.BytesIO(content)))
    assert one and two and one.id == two.id
    s.check("repos/upload_code", lambda: s.writer.repos.upload_code("main", "demo-1", digest, io.BytesIO(content)))


def fleets(s):
    key = generated_key()
    configuration = FleetConfiguration(
        type="fleet", name="e2e-lab", placement="cluster",
        ssh_config={"user": "nobody", "port": 9, "identity_file": "/k", "ssh_key": key, "hosts": ["127.0.0.250"]},
    )
    spec = FleetSpec(configuration=configuration, configuration_path="f.yml", profile=Profile(name="default"))
    plan = s.check("fleets/get_plan", lambda: s.writer.fleets.get_plan("main", spec))
    assert plan.action == "create" and plan.spec.configuration.ssh_config.ssh_key.private == key["private"]
    assert plan.effective_spec.configuration.ssh_config.ssh_key is None
    fleet = s.check("fleets/apply", lambda: s.writer.fleets.apply_plan("main", plan))
    assert fleet and fleet.instances[0].status == "pending", fleet
    got = s.everywhere("fleets/get", lambda c: c.fleets.get("main", "e2e-lab"))
    s.everywhere("fleets/list", lambda c: c.fleets.list("main", include_imported=True))
    again = s.check("fleets/get_plan again", lambda: s.writer.fleets.get_plan("main", spec))
    assert again.action == "update" and again.current_resource.spec == again.effective_spec
    again.spec.configuration.ssh_config.hosts.append("127.0.0.251")
    two = s.check("fleets/apply adds a host", lambda: s.writer.fleets.apply_plan("main", again))
    assert two and len(two.instances) == 2
    s.check("fleets/delete_instances", lambda: s.writer.fleets.delete_instances("main", "e2e-lab", [1]))
    return got


def runs(s):
    # With `retry` it waits for a machine, and so stays active.
    spec = task("e2e-run", ["echo hello"], retry=True)
    plan = s.check("runs/get_plan", lambda: s.writer.runs.get_plan("main", spec, max_offers=3))
    assert plan.action == "create" and plan.current_resource is None and plan.job_plans
    run = s.check("runs/apply", lambda: s.writer.runs.apply_plan("main", plan))
    assert run and run.run_spec.run_name == "e2e-run", run
    s.everywhere("runs/get", lambda c: c.runs.get("main", "e2e-run"))
    s.everywhere("runs/get by id", lambda c: c.runs.get("main", run_id=run.id))
    listed = s.everywhere("runs/list", lambda c: c.runs.list(
        project_name="main", repo_id=None, only_active=False, limit=100, job_submissions_limit=1))
    assert any(one.id == run.id for one in listed)
    logs = PollLogsRequest(run_name="e2e-run", job_submission_id=run.jobs[0].job_submissions[-1].id, limit=1000)
    answer = s.everywhere("logs/poll", lambda c: c.logs.poll("main", logs))
    assert answer.next_token is None
    # The released client sends the same apply again when its connection drops.
    repeated = s.check("runs/apply repeated", lambda: s.writer.runs.apply_plan("main", plan))
    assert repeated and repeated.id == run.id, "a repetition made another run"
    again = s.check("runs/get_plan of an active run", lambda: s.writer.runs.get_plan("main", spec))
    if not again.current_resource.status.is_finished():
        assert again.action == "update"
        assert again.current_resource.run_spec == again.effective_run_spec, "a re-apply shows changes"
        changed = task("e2e-run", ["echo other"], retry=True)
        plan_changed = s.check("runs/get_plan, changed", lambda: s.writer.runs.get_plan("main", changed))
        assert plan_changed.action == "create"
        s.refused("runs/apply over an active run", lambda: s.writer.runs.apply_plan("main", plan_changed),
                  ServerClientError, "Stop the run first")
        s.refused("runs/delete of an active run", lambda: s.writer.runs.delete("main", ["e2e-run"]), ServerClientError)
    s.check("runs/stop", lambda: s.writer.runs.stop("main", ["e2e-run", "nope"], abort=False))
    for _ in range(100):
        run = s.writer.runs.get("main", "e2e-run")
        if run.status.is_finished():
            break
        time.sleep(0.2)
    s.check("run is finished", lambda: run.status.is_finished() or 1 / 0)
    # A finished run's name is free; the old run is found by its id.
    last = s.writer.runs.get_plan("main", spec)
    assert last.action == "create" and last.current_resource.id == run.id
    new = s.check("runs/apply after the end", lambda: s.writer.runs.apply_plan("main", last))
    assert new and new.id != run.id
    old = s.everywhere("runs/get of a deleted run by id", lambda c: c.runs.get("main", run_id=run.id))
    assert old.deleted
    s.writer.runs.stop("main", ["e2e-run"], abort=True)
    for _ in range(100):
        if s.writer.runs.get("main", "e2e-run").status.is_finished():
            break
        time.sleep(0.2)
    s.check("runs/delete", lambda: s.writer.runs.delete("main", ["e2e-run"]))
    s.refused("runs/get of none", lambda: s.writer.runs.get("main", "e2e-run"), ResourceNotExistsError)
    unnamed = task(None, ["true"])
    unnamed.run_name = None
    plan = s.check("runs/get_plan unnamed", lambda: s.writer.runs.get_plan("main", unnamed))
    run = s.check("runs/apply unnamed", lambda: s.writer.runs.apply_plan("main", plan))
    assert run and run.run_spec.run_name
    s.writer.runs.stop("main", [run.run_spec.run_name], abort=True)
    bad = task("e2e-bad", ["true"])
    body = {"plan": {"run_spec": {**json.loads(bad.model_dump_json()), "zzz": 1}}, "force": False}
    answer = requests.post(f"{s.urls[0]}/api/project/main/runs/apply", json=body,
                           headers={"Authorization": f"Bearer {s.token}"})
    s.check("422 for an unknown field", lambda: answer.status_code == 422 or 1 / 0)


def others(s):
    s.everywhere("events/list", lambda c: c.events.list(
        target_projects=None, target_users=None, target_fleets=None, target_instances=None, target_runs=None,
        target_jobs=None, within_projects=None, within_fleets=None, within_runs=None, include_target_types=None,
        actors=None, prev_recorded_at=None, prev_id=None, limit=100, ascending=False))
    s.everywhere("volumes/list", lambda c: c.volumes.list("main"))
    s.refused("volumes/get", lambda: s.writer.volumes.get("main", "v"), ResourceNotExistsError)
    s.everywhere("gateways/list", lambda c: c.gateways.list("main"))
    s.refused("gateways/get", lambda: s.writer.gateways.get("main", "g"), ResourceNotExistsError)
    s.refused("exports/list", lambda: s.writer.exports.list("main"), ServerClientError, "not supported")
    s.check("auth/list_providers", lambda: s.writer.auth.list_providers())
    s.check("fleets/delete", lambda: s.writer.fleets.delete("main", ["e2e-lab", "nope"]))


def raw(s):
    """Bodies of refusals, to the letter."""
    def post(path, token=None, **more):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = requests.post(s.urls[0] + path, headers=headers, **more)
        return answer.status_code, answer.json()

    expected = [
        ("no token", post("/api/users/get_my_user"), (401, {"detail": "Not authenticated"})),
        ("bad token", post("/api/users/get_my_user", "x"), (403, {"detail": {"msg": "Invalid token", "code": None}})),
        ("bad token before the project", post("/api/project/nope/runs/get", "x", json={}),
         (403, {"detail": {"msg": "Invalid token", "code": None}})),
        ("unknown project", post("/api/project/nope/runs/get", s.token, json={"run_name": "a", "id": None}),
         (404, {"detail": {"msg": "Not found", "code": None}})),
        ("unknown run", post("/api/project/main/runs/get", s.token, json={"run_name": "nope", "id": None}),
         (400, {"detail": [{"msg": "Run not found", "code": "resource_not_exists"}]})),
        ("unknown path", post("/api/project/main/presets/get", s.token, json={}), (405, {"detail": "Method Not Allowed"})),
        ("two target filters", (post("/api/events/list", s.token, json={"target_runs": [str(uuid.uuid4())], "target_fleets": [str(uuid.uuid4())]})[0], 0), (422, 0)),
        ("runs of an unknown user", post("/api/runs/list", s.token, json={"username": "nope"}),
         (400, {"detail": [{"msg": "User not found", "code": "resource_not_exists"}]})),
        ("void", post("/api/project/main/runs/stop", s.token, json={"runs_names": ["nope"], "abort": False}), (200, None)),
        ("runs of an unknown project", post("/api/runs/list", s.token, json={"project_name": "nope"}), (200, [])),
    ]
    for name, got, wanted in expected:
        def same():
            assert got == wanted, f"got {got}, expected {wanted}"
        s.check(f"body: {name}", same)


def versions(s):
    """No client is refused for its version; older ones get the forms they know."""
    spec = task("e2e-version", ["true"], fleets=["lab"])
    body = {"run_spec": json.loads(spec.model_dump_json())}
    for version, wanted in [("0.20.0", ["lab"]), ("0.22.5", [{"project": None, "name": "lab"}]),
                            ("99.0.0", [{"project": None, "name": "lab"}]), ("x", [{"project": None, "name": "lab"}])]:
        def fits():
            answer = requests.post(f"{s.urls[0]}/api/project/main/runs/get_plan", json=body,
                                   headers={"Authorization": f"Bearer {s.token}", "X-API-VERSION": version})
            assert answer.status_code == 200, answer.text
            got = answer.json()["run_spec"]["configuration"]["fleets"]
            assert got == wanted, f"got {got}, expected {wanted}"
        s.check(f"client version {version}", fits)


def main():
    description = Description(sys.argv[1])
    s = Suite([sys.argv[1], *sys.argv[3:]], sys.argv[2])
    for part in (people, secrets, repos, fleets, runs, others, raw, versions):
        try:
            part(s)
        except Exception as error:
            s.failed += 1
            print(f"FAIL  {part.__name__} ended early: {type(error).__name__}: {error}")
    description.judge(s)
    print("all passed" if not s.failed else f"{s.failed} failed")
    sys.exit(1 if s.failed else 0)


main()
