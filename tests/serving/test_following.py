"""A server under steady load, before a real S3 server: its stage moves, the store goes away, a version is broken. No request fails, the right one answers."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from asdfd.steps.promotion import roll_back
from asdfd.storage.objects import open_objects
from tests.registry.makers import run_of
from tests.servers.ceph import Ceph
from tests.servers.proxy import Fault, Proxy, nothing, running_proxy
from tests.serving.makers import NAME, probabilities_of, probabilities_of_export, push_student
from tests.serving.processes import Server, serving, steady_load, until
from tests.tiny_models import random_texts
from tests.tolerance import assert_close

TEXTS = random_texts(3, seed=6)


def away(method: str, path: str) -> Fault | None:
    """The store cannot be reached."""
    del method, path
    return "reset"


def looks_in_vain(server: Server) -> int:
    """How often the server said that it could not look up its stage."""
    return server.log.read_text().count("cannot be looked up")


@pytest.mark.parametrize("form", ["", "int8"], ids=["student", "int8"])
def test_a_promotion_reaches_the_server_and_no_request_fails(form: str, ceph: Ceph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ceph.environment().items():
        monkeypatch.setenv(name, value)
    bucket = ceph.bucket()
    location = f"s3://{bucket}/registry"

    def push(seed: int) -> str:
        return push_student(location, tmp_path / str(seed), seed, form)

    def back() -> None:
        roll_back(run_of(location, NAME), NAME, "production", "worse")

    first = push(1)
    with running_proxy(ceph.endpoint) as proxy:
        environment = {"S3_ENDPOINT": proxy.endpoint, "S3_TRIES": "1"}
        words = [f"{NAME}@production", "--registry", location, "--every", "0.2", "--threads", "2"]
        with serving(words, tmp_path / "log", environment) as server, steady_load(server, {"texts": TEXTS}) as load:
            until(lambda: load.newest == first, "the first version to answer")

            second = push(2)
            until(lambda: load.newest == second, "the promoted version to answer")

            back()
            until(lambda: load.newest == first, "the version before to answer again")

            third = while_away(proxy, server, lambda: push(3))
            assert load.newest == first, "nobody can know of the move while the store is away"
            proxy.decide = nothing
            until(lambda: load.newest == third, "the version that was promoted meanwhile to answer")

            fourth = while_away(proxy, server, lambda: push(4))
            broken = "model.onnx" if form else "model.safetensors"
            break_weights(ceph, bucket, location, fourth, broken)
            proxy.decide = nothing
            until(lambda: server.metric("asdfd_serving_load_failed") == 1, "the broken version to be refused")
            assert broken in server.log.read_text()
            answered = len(load.answers)
            until(lambda: len(load.answers) > answered + 20, "answers after that")
            assert load.newest == third

            back()
            until(lambda: server.metric("asdfd_serving_load_failed") == 0, "the stage to be whole again")
            assert load.newest == third

        assert load.failures == []
        assert set(load.statuses()) == {200}
        folders = {version: tmp_path / str(seed) for seed, version in enumerate((first, second, third), 1)}
        expected = {
            version: probabilities_of_export(folder, TEXTS) if form else probabilities_of(folder / "student", TEXTS) for version, folder in folders.items()
        }
        assert {answer.version for answer in load.answers} == expected.keys()
        for answer in load.answers:
            rows = [list(prediction["probabilities"].values()) for prediction in answer.document["predictions"]]
            assert_close(rows, expected[answer.version], told=f"answers that version {answer.version} is said to have given")


def while_away(proxy: Proxy, server: Server, act: Callable[[], str]) -> str:
    """Do something while the server cannot reach the store, which it has noticed; the store stays away."""
    seen = looks_in_vain(server)
    proxy.decide = away
    made = act()
    until(lambda: looks_in_vain(server) > seen, "the server to notice that the store is away")
    return made


def break_weights(ceph: Ceph, bucket: str, location: str, version: str, name: str) -> None:
    """Flip the last bit of a stored version's weights."""
    (info,) = (info for info in open_objects(location).list(f"models/{NAME}/versions/{version}/") if info.key.endswith(f"/{name}"))
    client = ceph.client()
    response = client.get_object(bucket, f"registry/{info.key}")
    content = response.read()
    response.close()
    response.release_conn()
    broken = content[:-1] + bytes([content[-1] ^ 1])
    client.put_object(bucket, f"registry/{info.key}", io.BytesIO(broken), len(broken))
