"""What a shipped inventory comes to for app-1, by way of the plugin that playbooks use, but without a run."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import action_loader, init_plugin_loader
from ansible.template import Templar, trust_as_template
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

from conftest import PROJECT
from deployment.desired.django import DjangoHost
from deployment.site import Site
from deployment.states import States

INVENTORIES = sorted(path.parents[1].name for path in (PROJECT / "inventories").glob("*/group_vars/all.yml"))
# What secrets.json has: nothing that is printed anywhere else.
SECRETS = {"redis_password": "s3cret-ключ '\"\\", "redis_sentinel_password": "s3cret-of-the-sentinels"}
PASSWORDS = [*SECRETS, "redis_admin_password", "django_app_secret_key"]


@functools.cache
def load_plugins() -> None:
    init_plugin_loader()
    action_loader.add_directory(str(PROJECT / "ansible" / "plugins" / "action"))


def bridge(
    inventory: str | Path,
    step: str = "look",
    check_mode: bool = False,
    looked: Mapping[str, Mapping[str, Any]] | None = None,
    **variables: Any,
) -> Any:
    """The plugin with the task of a step; ``looked`` is by host its answer to a look, variables are as after `-e`."""
    load_plugins()
    loader = DataLoader()
    loader.set_basedir(str(PROJECT))
    hosts = InventoryManager(loader, sources=[str(PROJECT / "inventories" / inventory / "hosts.yml")])
    manager = VariableManager(loader, hosts)
    # One dict for the whole process.
    manager.extra_vars.clear()
    manager.extra_vars.update(variables)
    # Makes them known to the manager.
    HostVars(hosts, manager, loader)
    for host, answer in (looked or {}).items():
        manager.set_nonpersistent_facts(host, {"cache_looked": answer})
    task = {"name": "Take a step", "deployment": {"step": step}, "check_mode": check_mode}
    play = Play.load({"hosts": "all", "gather_facts": False, "tasks": [task]}, manager, loader)
    known = manager.get_vars(play=play, host=hosts.get_host("app-1"))
    action = action_loader.get(
        "deployment",
        task=Task.load(task, variable_manager=manager, loader=loader),
        connection=None,
        play_context=PlayContext(),
        loader=loader,
        templar=Templar(loader, known),
        shared_loader_obj=None,
    )
    action._variables = known
    return action


def site(inventory: str | Path, **variables: Any) -> Site:
    """The site of an inventory that no host was asked about."""
    made: Site = bridge(inventory, **variables)._site()
    return made


def app(inventory: str | Path, **variables: Any) -> DjangoHost:
    """Its Django host app-1. No password may be looked at, unless the variables have one."""
    unknown = dict.fromkeys(PASSWORDS, trust_as_template("{{ looked_at_a_password }}"))
    return States(site(inventory, **{**unknown, **variables})).apps["app-1"]
