"""The labelling server: who is let in, and what is answered."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rlreason.web.label.server import COOKIE, application
from rlreason.web.label.store import Answer, Store

TOKEN = "sesame"
ANN = {"labeller": "ann"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "labels.sqlite")
    store.add("<b>2+2=</b>", [Answer(text="4", models=("secret-model",)), Answer(text="<script>5</script>")])
    return store


@pytest.fixture
def client(store: Store) -> TestClient:
    client = TestClient(application(store, TOKEN, ["127.0.0.1"]), base_url="http://127.0.0.1")
    client.cookies.set(COOKIE, TOKEN)
    return client


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css"])
def test_nothing_without_the_token(store: Store, path: str) -> None:
    client = TestClient(application(store, TOKEN, ["127.0.0.1"]), base_url="http://127.0.0.1")
    for address in (path, f"{path}?token=wrong"):
        assert client.get(address).status_code == 403
    assert client.post("/next", json=ANN).status_code == 403
    assert client.get("/?token=sesame", follow_redirects=False).headers["location"] == "/"
    cookie = client.get("/?token=sesame", follow_redirects=False).headers["set-cookie"]
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()


def test_another_host_name_is_refused(store: Store) -> None:
    client = TestClient(application(store, TOKEN, ["127.0.0.1"]), base_url="http://evil.example")
    assert client.get("/?token=sesame").status_code == 400


def test_pages_run_no_script_but_their_own(client: TestClient) -> None:
    for path in ("/", "/page.js", "/page.css"):
        response = client.get(path)
        assert response.status_code == 200
        assert "default-src 'none'; script-src 'self'" in response.headers["content-security-policy"]
    assert "<script>" not in client.get("/").text.replace('<script src="/page.js"></script>', "")
    assert "innerHTML" not in client.get("/page.js").text


def test_a_label_is_saved_and_taken_back(client: TestClient, store: Store) -> None:
    shown = client.post("/next", json=ANN).json()
    assert shown["progress"] == {"done": 0, "total": 1, "labellers": 0, "alpha": None}
    assert "secret-model" not in str(shown)
    prompt = shown["prompt"]
    places = {str(answer["id"]): place + 1 for place, answer in enumerate(prompt["answers"])}
    label = ANN | {"prompt": prompt["id"], "places": places, "all_bad": False, "comment": "why"}
    after = client.post("/save", json=label).json()
    assert after["prompt"] is None and after["progress"]["done"] == 1
    (row,) = store.rankings()
    assert row["comment"] == "why" and sorted(row["ranking"]) == [1, 2]
    assert client.post("/undo", json=ANN).json()["prompt"] == prompt
    assert list(store.rankings()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"places": {"1": 1, "99": 2}}, "answer 99 is none of prompt 1"),
        ({"places": {"1": 1}}, "answer 2 has no place"),
        ({"prompt": 5}, "there is no prompt 5"),
        ({"labeller": ""}, "a labeller's name has from 1 to 60 characters"),
        ({"places": "x"}, "this is no request of the page"),
        ({"comment": "x" * 20_000}, "the comment is longer than 10000 characters"),
    ],
)
def test_what_is_wrong_is_told_and_not_saved(
    client: TestClient, store: Store, changes: dict[str, object], message: str
) -> None:
    label = ANN | {"prompt": 1, "places": {"1": 1, "2": 2}, "all_bad": False, "comment": ""} | changes
    response = client.post("/save", json=label)
    assert (response.status_code, response.json()) == (400, {"error": message})
    assert list(store.rankings()) == []
    assert client.post("/save", content=b"x" * 200_000).status_code == 413
    assert client.post("/save", content=b"{").status_code == 400
