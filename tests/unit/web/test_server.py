"""The labelling server: who is let in, and what is answered."""

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from rlreason.web.label.server import application
from rlreason.web.label.store import Answer, Store

TOKEN = "sesame"
LINKS = {"owner": TOKEN, "ann": "of-ann", "bob": "of-bob"}
LABEL = {"prompt": 1, "places": {"1": 1, "2": 2}, "all_bad": False, "comment": ""}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "labels.sqlite")
    store.add([("<b>2+2=</b>", [Answer(text="4", models=("secret-model",)), Answer(text="<script>5</script>")])])
    return store


@pytest.fixture
def client(store: Store) -> TestClient:
    return visitor(store, TOKEN)


def visitor(store: Store, secret: str | None = None, *, base_url: str = "http://127.0.0.1") -> TestClient:
    client = TestClient(application(store, LINKS, ["127.0.0.1"]), base_url=base_url)
    if secret is not None:
        client.get(f"/?token={secret}")
    return client


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css"])
def test_nothing_without_the_token(store: Store, path: str) -> None:
    client = visitor(store)
    for address in (path, f"{path}?token=wrong"):
        assert client.get(address).status_code == 403
    assert client.post("/next", json={}).status_code == 403
    assert client.get("/?token=sesame", follow_redirects=False).headers["location"] == "/"
    cookie = client.get("/?token=sesame", follow_redirects=False).headers["set-cookie"]
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie, "whoever is sent the cookie, such as another port, does not learn the token"


def test_another_host_name_is_refused(store: Store) -> None:
    assert visitor(store, base_url="http://evil.example").get("/?token=sesame").status_code == 400


def test_pages_run_no_script_but_their_own(client: TestClient) -> None:
    for path in ("/", "/page.js", "/page.css"):
        response = client.get(path)
        assert response.status_code == 200
        assert "default-src 'none'; script-src 'self'" in response.headers["content-security-policy"]
    assert "<script>" not in client.get("/").text.replace('<script src="/page.js"></script>', "")
    assert "innerHTML" not in client.get("/page.js").text


def test_a_label_is_saved_and_taken_back(client: TestClient, store: Store) -> None:
    shown = client.post("/next", json={}).json()
    assert shown["progress"] == {"done": 0, "total": 1, "labellers": 0, "alpha": None}
    assert "secret-model" not in str(shown)
    prompt = shown["prompt"]
    places = {str(answer["id"]): place + 1 for place, answer in enumerate(prompt["answers"])}
    label = {"prompt": prompt["id"], "places": places, "all_bad": False, "comment": "why"}
    after = client.post("/save", json=label).json()
    assert after["prompt"] is None and after["progress"]["done"] == 1
    (row,) = store.rankings()
    assert row["comment"] == "why" and row["labeller"] == "owner" and sorted(row["ranking"]) == [1, 2]
    back = client.post("/undo", json={}).json()["prompt"]
    assert back == prompt | {"places": places, "comment": "why"}
    assert list(store.rankings()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"places": {"1": 1, "99": 2}}, "answer 99 is none of prompt 1"),
        ({"places": {"1": 1}}, "answer 2 has no place"),
        ({"prompt": 5}, "there is no prompt 5"),
        ({"places": "x"}, "this is no request of the page"),
        ({"comment": "x" * 20_000}, "the comment is longer than 10000 characters"),
        ({"places": {"1": 1, "2": 1.9}}, "this is no request of the page"),
        ({"all_bad": "false"}, "this is no request of the page"),
        ({"prompt": 10**30}, "this is no request of the page"),
    ],
)
def test_what_is_wrong_is_told_and_not_saved(
    client: TestClient, store: Store, changes: dict[str, object], message: str
) -> None:
    response = client.post("/save", json=LABEL | changes)
    assert (response.status_code, response.json()) == (400, {"error": message})
    assert list(store.rankings()) == []
    as_json = {"Content-Type": "application/json"}
    for body, status in ((b"x" * 200_000, 413), (b"{", 400), (b"[" * 50_000, 400), (b"7", 400)):
        assert client.post("/save", content=body, headers=as_json).status_code == status


def test_another_page_cannot_label(client: TestClient, store: Store) -> None:
    """A page on another port is the same site to a browser, which sends the cookie along."""
    assert client.post("/save", json=LABEL, headers={"Origin": "http://127.0.0.1:8490"}).status_code == 403
    as_text = {"Content-Type": "text/plain"}
    assert client.post("/save", content=json.dumps(LABEL), headers=as_text).status_code == 415
    assert list(store.rankings()) == []
    assert client.post("/save", json=LABEL, headers={"Origin": "http://127.0.0.1"}).status_code == 200
    assert len(list(store.rankings())) == 1


def test_two_servers_on_one_machine_do_not_log_each_other_out(store: Store) -> None:
    names = []
    for port in (8001, 8002):
        client = visitor(store, base_url=f"http://127.0.0.1:{port}")
        answer = client.get(f"/?token={TOKEN}", follow_redirects=False)
        names.append(answer.headers["set-cookie"].split("=")[0])
    assert names == ["rlreason-label-8001", "rlreason-label-8002"]


def test_a_person_is_who_their_link_says(store: Store) -> None:
    for name, secret in LINKS.items():
        client = visitor(store, secret)
        assert client.post("/save", json=LABEL).json()["labeller"] == name
    assert [row["labeller"] for row in store.rankings()] == list(LINKS)
    client.get("/?token=of-ann")
    assert client.post("/next", json={}).json()["labeller"] == "ann", "another link in the same browser"


@pytest.mark.parametrize("other", ["bob", "owner", "eve", "", None, ["ann"], {"name": "bob"}])
def test_saving_as_another(store: Store, other: object) -> None:
    response = visitor(store, "of-ann").post("/save", json=LABEL | {"labeller": other})
    assert response.status_code == 403 and "this browser is ann's" in response.json()["error"]
    assert list(store.rankings()) == [] and store.labellers() == set()


def test_undo_as_another(store: Store) -> None:
    visitor(store, "of-bob").post("/save", json=LABEL)
    ann = visitor(store, "of-ann")
    assert ann.post("/undo", json={"labeller": "bob"}).status_code == 403
    ann.post("/undo", json={})
    assert [row["labeller"] for row in store.rankings()] == ["bob"]


@pytest.mark.parametrize("secret", ["eve", "ann", "of-eve", "of-ann ", "", "of-änn", "\ud800"])
def test_inventing_a_labeller(store: Store, secret: str) -> None:
    client = visitor(store)
    client.cookies.set("rlreason-label-80", quote(secret, errors="replace"))
    assert client.post("/save", json=LABEL).status_code == 403
    link = {"token": secret.encode(errors="replace")}
    assert client.get("/", params=link).status_code == client.post("/save", params=link, json=LABEL).status_code == 403
    assert store.labellers() == set()


def test_the_link_is_not_learnt_from_the_cookie_nor_the_cookie_a_link(store: Store) -> None:
    cookie = visitor(store, "of-ann").cookies["rlreason-label-80"]
    assert "of-ann" not in cookie
    assert visitor(store).get("/", params={"token": cookie}).status_code == 403
