"""Nothing but `gcbench fetch` touches the network."""

import socket

import pytest


@pytest.fixture
def no_sockets(monkeypatch):
    opened = []

    class Refused(socket.socket):
        def __init__(self, *args, **kwargs):
            opened.append((args, kwargs))
            raise OSError("a socket was opened")

    monkeypatch.setattr(socket, "socket", Refused)
    monkeypatch.setattr(socket, "create_connection", Refused)
    return opened


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("list",), 0),
        (("run", "--method", "grey-level", "--bench", "greys"), 0),
        (("run", "--method", "randar", "--bench", "mini-s", "--dry-run"), 0),
        (("report", "--table", "1"), 0),
        (("report", "--table", "2", "--source", "paper"), 0),
        # Weights that were never fetched are a clear error, not a download.
        (("run", "--method", "randar:l-release", "--bench", "in-s"), 2),
        (("run", "--method", "timm:test_resnet", "--bench", "in-val"), 2),
    ],
    ids=lambda value: " ".join(value[:5]) if isinstance(value, tuple) else None,
)
def test_no_socket_is_opened(gcbench, no_sockets, tmp_path, monkeypatch, arguments, code):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    result = gcbench(*arguments)
    assert no_sockets == []
    assert result.exit_code == code, result.output
