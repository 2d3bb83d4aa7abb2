# SPDX-License-Identifier: Apache-2.0
"""The frame of a history on a mount: its clients, and a fresh start that leaves nothing behind."""
from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

from client import LocalClient, RemoteClient
from daemon import LINKS, PASSTHROUGH, Daemon
from driver import PATIENCE, Clients, Run
from model import Model

REMOTE_CLIENTS = 2


@contextmanager
def clients_of(mount: Daemon) -> Iterator[Clients]:
    root = str(mount.path)
    clients: Clients = [LocalClient(root), *(RemoteClient(root) for _ in range(REMOTE_CLIENTS))]
    try:
        yield clients
    finally:
        for client in clients:
            client.end()


@contextmanager
def run_of(mount: Daemon, clients: Clients, patience: float = PATIENCE) -> Iterator[Run]:
    model = Model([client.pid for client in clients], page_cache=mount.data_path != PASSTHROUGH,
                  links=mount.data_path == LINKS)
    run = Run(mount.path, clients, model, patience)
    try:
        yield run
    finally:
        run.finish()
