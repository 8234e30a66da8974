"""`allotrope webhooks`: what is kept, what is shown, and what is refused."""

from pathlib import Path

import pytest

from allotrope import Refused
from allotrope.cli.net.webhooks import Settings, webhooks
from allotrope.gateway.webhooks.states import Dead, State, keep
from allotrope.gateway.webhooks.subscriptions import FILE, read

URL = "https://shop.example/hook/t0ken"


def test_a_webhook_is_added_renewed_and_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(event=("Scored",), folder=tmp_path)
    assert webhooks("add", URL, settings=settings) == 0
    first = capsys.readouterr().out.strip()
    hook = read(tmp_path).named("shop-example")
    assert (hook.secret, hook.events) == (first, ("Scored",))
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
    webhooks("rotate", "shop-example", settings=settings)
    second = capsys.readouterr().out.strip()
    assert read(tmp_path).named("shop-example").secrets_at(0.0) == (second, first)
    webhooks("ls", settings=settings)
    shown = capsys.readouterr().out
    assert "https://shop.example  Scored" in shown
    assert "t0ken" not in shown
    webhooks("rm", "shop-example", settings=settings)
    assert read(tmp_path).webhooks == ()


def test_what_was_given_up_is_shown_and_it_can_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(event=("Scored",), name="shop", folder=tmp_path)
    webhooks("add", URL, settings=settings)
    with pytest.raises(Refused, match="not disabled"):
        webhooks("enable", "shop", settings=settings)
    state = State(read(tmp_path).named("shop").made, 9, disabled="its receiver wants no more: answered 410")
    state.bury(Dead(8, "Scored", "4/Scorer.score#000", 0.0, "answered 500"))
    keep(tmp_path, "shop", state)
    webhooks("ls", settings=settings)
    webhooks("dead", "shop", settings=settings)
    webhooks("enable", "shop", settings=settings)
    shown = capsys.readouterr().out
    for says in (
        "disabled: its receiver",
        "Scored 4/Scorer.score#000 at position 8: answered 500",
        "position 9",
    ):
        assert says in shown
    with pytest.raises(Refused, match="not disabled"):
        webhooks("enable", "shop", settings=settings)


@pytest.mark.parametrize(
    ("url", "given", "says"),
    [
        (URL, {}, "has no event"),
        (URL, {"event": ("Scored",), "name": "../x"}, "no name of a webhook"),
        ("http://shop.example", {"event": ("Scored",)}, "by https"),
        ("https://127.0.0.1/x", {"event": ("Scored",)}, "--allow-private"),
        ("", {}, "needs a URL"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, url: str, given: dict[str, object], says: str) -> None:
    with pytest.raises(Refused, match=says):
        webhooks("add", url, settings=Settings(folder=tmp_path, **given))  # type: ignore[arg-type]
    assert not (tmp_path / FILE).exists()


def test_names_are_known_and_nearest_ones_told(tmp_path: Path) -> None:
    settings = Settings(event=("Scored",), name="shop", folder=tmp_path)
    webhooks("add", URL, settings=settings)
    with pytest.raises(Refused, match="there is a webhook"):
        webhooks("add", URL, settings=settings)
    with pytest.raises(Refused, match="Nearest: `shop`"):
        webhooks("rm", "shap", settings=settings)
