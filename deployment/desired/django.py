"""The desired state of a Django host: the release, the settings and what serves them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from deployment.addresses import endpoint
from deployment.checks.rendered import django_caches
from deployment.checks.versions import cache_words
from deployment.desired.parts import Part, Secret, directory, file
from deployment.desired.tls import Issued
from deployment.errors import DeploymentError
from deployment.release import Release
from deployment.render.python_source import to_python
from deployment.render.service import Service
from deployment.render.templates import render
from deployment.secrets import without_secrets
from deployment.site import Host
from deployment.specs import PROJECT

SERVICE = "django_app"
# The lowest Python on which each constraints file installs.
PYTHON_FLOOR = {"3.2": "3.9", "4.2": "3.9", "5.2": "3.11", "6.1": "3.12"}
# The names of variables in settings.py that stand for passwords, where no secret is written.
PASSWORD_NAMES = ("REDIS_PASSWORD", "REDIS_SENTINEL_PASSWORD")
GIT = re.compile(r"://|^[^/]+@[^/]+:")
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
CLIENT_SOURCE = PROJECT / "django_app" / "cachestack"
CONSTRAINTS = PROJECT / "roles" / "django_app" / "files" / "constraints"


@dataclass(frozen=True)
class DjangoHost(Host):
    """A host of the Django group: everything that is to be there for its project."""

    @property
    def client(self) -> str:
        """Which client Django uses."""
        return self.cache.deployment.client(self.name)

    @property
    def user(self) -> str:
        """Who runs the project; empty for whoever runs the playbook."""
        return self.text("django_app_user")

    @property
    def owner(self) -> str:
        """Who owns what the project only reads."""
        return "root" if self.user else ""

    @property
    def current(self) -> str:
        """The link to the current release."""
        return f"{self.text('django_app_home')}/current"

    @property
    def deployed(self) -> str:
        """The package with the deployed settings."""
        return f"{self.text('django_app_conf_dir')}/deployed"

    @property
    def aside(self) -> str:
        """Where the new package and CA certificate are while they are checked, before they replace the former ones."""
        return f"{self.deployed}.new"

    @property
    def manage(self) -> str:
        """Django's command line with the deployed settings."""
        return f"{self.current}/manage.py"

    @property
    def python(self) -> str:
        """The Python of the control node or of the host with which the virtualenv is made."""
        return self.text("django_app_python")

    @property
    def django(self) -> str:
        """The series of Django."""
        return self.text("django_app_django_version")

    # The caches

    @property
    def aliases(self) -> Mapping[str, Any]:
        """The cache aliases."""
        return dict(self.cache.deployment.aliases(self.name))

    @property
    def session_alias(self) -> str:
        """The alias that holds the sessions, "" for none."""
        return self.cache.deployment.session_alias(self.name)

    @property
    def own_caches(self) -> dict[str, Any]:
        """The whole of CACHES, where the user writes it."""
        return dict(self.values.get("django_app_caches") or {})

    @cached_property
    def caches(self) -> dict[str, Any]:
        """The value of CACHES. Raises CacheSettingsError for an alias that its client or mode cannot serve."""
        if self.own_caches:
            return self.own_caches
        cache = self.cache
        return django_caches(
            self.aliases,
            mode=cache.mode,
            client=self.client,
            nodes=cache.nodes,
            password=PASSWORD_NAMES[0],
            username="app" if any(node["acl"] for node in cache.nodes) else None,
            ca_file=self.ca_file,
            session_alias=self.session_alias,
            sentinels=cache.sentinels,
            service=cache.service or "mymaster",
            sentinel_password=PASSWORD_NAMES[1],
        )

    @property
    def issued_nodes(self) -> list[dict[str, Any]]:
        """The servers whose certificates are of the CA on the control node, whose certificate the host then gets."""
        return [node for node in self.cache.nodes if node["issued"]]

    @property
    def ca_file(self) -> str:
        """The CA certificate to trust; "" without TLS."""
        given = self.text("django_app_redis_ca_file")
        return given or (f"{self.text('django_app_conf_dir')}/redis-ca.crt" if self.issued_nodes else "")

    @property
    def secrets(self) -> dict[str, str]:
        """What settings.py reads from the file beside it."""
        values, nodes, sentinels = self.cache.site.values, self.cache.nodes, self.cache.sentinels
        return {
            "secret_key": self.text("django_app_secret_key"),
            "redis_password": str(values[nodes[0]["name"]]["redis_password"]) if nodes else "",
            "redis_sentinel_password": str(values[sentinels[0]["name"]]["redis_sentinel_password"])
            if sentinels
            else "",
        }

    def _caches_source(self, caches: Mapping[str, Any]) -> str:
        return render(
            "django_app",
            "caches.py.j2",
            has_servers=bool(self.cache.nodes),
            has_sentinels=bool(self.cache.sentinels),
            caches=to_python(caches, names=PASSWORD_NAMES),
            session_alias=to_python(self.session_alias) if self.session_alias else "",
        )

    @cached_property
    def settings(self) -> str:
        """The text of settings.py."""
        own = self.values.get("django_app_settings") or {}
        return render(
            "django_app",
            "settings.py.j2",
            base_settings=self.text("django_app_base_settings"),
            https=self.is_true("django_app_https"),
            sets_hsts="SECURE_HSTS_SECONDS" in own,
            allowed_hosts=to_python(list(self.values["django_app_allowed_hosts"])),
            cachestack=to_python({"mode": self.cache.mode, "client": self.client}),
            caches=self._caches_source(self.caches),
            settings={name: to_python(value) for name, value in own.items()},
        )

    @property
    def settings_may_hold_secrets(self) -> bool:
        """What users hand through may hold secrets; what the role renders holds none."""
        return bool(self.own_caches or self.values.get("django_app_settings"))

    def settings_to_paste(self) -> str:
        """The cache settings for a settings.py of one's own, without secrets."""
        shown = without_secrets(self.caches, names=PASSWORD_NAMES)
        given = {
            name: value
            for name, value in without_secrets(self.values.get("django_app_settings") or {}).items()
            if name.startswith(("CACHE", "SESSION_"))
        }
        secrets = {"redis_password": "..."} | ({"redis_sentinel_password": "..."} if self.cache.sentinels else {})
        return render(
            "django_app",
            "paste.py.j2",
            mode=self.cache.mode,
            client=self.client,
            packages=[self.requirements[0], *(self.client_packages if self.cache.nodes else [])],
            has_servers=bool(self.cache.nodes),
            leader=self.cache.leader["name"] if self.cache.nodes else "",
            leads_unasked=self.cache.mode in ("standalone", "replication") and len(self.cache.deployment.nodes) > 1,
            hides=shown != self.caches,
            secrets=json.dumps(secrets),
            caches=self._caches_source(shown),
            settings={name: to_python(value) for name, value in given.items()},
        )

    # The release

    @property
    def source(self) -> str:
        """The project: a directory of the control node or the URL of a git repository."""
        return self.text("django_app_src") or str(PROJECT / "django_app")

    @property
    def is_git(self) -> bool:
        """Whether the project comes from a git repository."""
        return GIT.search(self.source) is not None

    @property
    def checkout(self) -> str:
        """Where the control node keeps the repository's checkout."""
        source = f"{self.source} {self.text('django_app_src_version')}"
        return f"{self.text('django_app_cache_dir')}/git/{hashlib.sha256(source.encode()).hexdigest()[:16]}"

    @property
    def client_packages(self) -> list[str]:
        """What the caches need of packages."""
        compressors = {(alias or {}).get("compressor") for alias in self.aliases.values()}
        wanted = {
            # Version 4 does not know the option `protocol`, which CACHES has.
            "redis[hiredis]>=5": True,
            "django-redis": self.client == "django_redis",
            "lz4": "lz4" in compressors,
            "pyzstd": "zstd" in compressors,
        }
        return [package for package, is_wanted in wanted.items() if is_wanted]

    @property
    def requirements(self) -> list[str]:
        """What Django must have on top of what the project asks for."""
        return [f"Django=={self.django}.*", *self.client_packages, "gunicorn"]

    @property
    def constraints_file(self) -> Path | None:
        """The pip constraints file on the control node; None for none."""
        given = self.values.get("django_app_constraints")
        if given is None:
            return CONSTRAINTS / f"django-{self.django}.txt"
        return Path(given).expanduser() if given else None

    @property
    def listen(self) -> str:
        """Where gunicorn listens."""
        return endpoint(self.text("django_app_bind"), self.number("django_app_port"))

    @property
    def url(self) -> str:
        """Where its own host reaches it."""
        bind = self.text("django_app_bind")
        return f"http://{endpoint(ANYWHERE.get(bind, bind), self.number('django_app_port'))}"

    @property
    def path(self) -> list[str]:
        """Where Python finds the project, the client and the deployed settings."""
        return _path(self.current, self.text("django_app_conf_dir"))

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the processes."""
        own = self.values.get("django_app_environment") or {}
        given = {name: str(value) for name, value in own.items()}
        return {"DJANGO_SETTINGS_MODULE": "deployed.settings", "PYTHONPATH": ":".join(self.path), **given}

    @cached_property
    def release(self) -> Release:
        """The project with all that the role adds to it."""
        version = (self.facts.get("python") or {}).get("version") or {}
        bind = self.text("django_app_bind")
        trusted = [one for one in ("127.0.0.1", "::1", bind) if re.match(r"[0-9.]+$|.*:", one)]
        forwarders = list(dict.fromkeys([*trusted, *map(str, self.values.get("django_app_proxies") or ())]))
        constraints = self.constraints_file
        return Release(
            directories={
                "project": self.checkout if self.is_git else str(Path(self.source).expanduser()),
                "lib/cachestack": str(CLIENT_SOURCE),
            },
            files={
                "manage.py": render(
                    "django_app",
                    "manage.py.j2",
                    python=f"{self.current}/venv/bin/python",
                    environment=to_python(self.environment),
                    path=to_python(self.path),
                ),
                "gunicorn.conf.py": render(
                    "django_app",
                    "gunicorn.conf.py.j2",
                    bind=to_python(self.listen),
                    workers=self.number("django_app_workers"),
                    forwarders=to_python(",".join(forwarders)),
                ),
                "requirements.txt": render(
                    "django_app",
                    "requirements.txt.j2",
                    python=f"{self.python} {version.get('major')}.{version.get('minor')}",
                    requirements=self.text("django_app_requirements"),
                    packages=self.requirements,
                ),
                "constraints.txt": constraints.read_text("utf-8") if constraints else "",
            },
        )

    @cached_property
    def release_name(self) -> str:
        """The name of its directory."""
        return self.release.digest()

    @property
    def release_directory(self) -> str:
        """Where it is installed."""
        return f"{self.text('django_app_home')}/releases/{self.release_name}"

    def pack(self) -> dict[str, Any]:
        """The release packed on the control node: what the tasks that install it need. Raises DeploymentError."""
        missing = self.release.missing()
        if missing:
            raise DeploymentError(
                f"django_app_src of {self.name}: no such directory on the control node: {', '.join(missing)}"
            )
        archive = self.release.pack(Path(self.text("django_app_cache_dir")).expanduser() / "archives")
        home = self.text("django_app_home")
        return {
            "archive": str(archive),
            "releases": f"{home}/releases",
            "directory": self.release_directory,
            "python": self.python,
            "owner": self.owner,
            "group": self.user,
            "user": self.user,
            "home": home,
            "groups": self.groups,
            "installs_python": self.is_true("django_app_install_python"),
        }

    @property
    def installs_python(self) -> bool:
        """Whether the host still lacks what makes a virtualenv."""
        modules = (self.facts.get("python") or {}).get("modules") or {}
        return self.is_true("django_app_install_python") and bool(self.user) and not all(modules.values())

    @property
    def groups(self) -> list[str]:
        """The groups that may use the sockets of servers on this machine."""
        found = [node["socket_group"] for node in self.cache.nodes if node.get("socket")]
        return list(dict.fromkeys(found)) if self.user else []

    @property
    def unit(self) -> Service:
        """Its service."""
        return Service(
            name=SERVICE,
            description=f"The Django project {self.text('django_app_wsgi')}",
            command=(
                f"{self.current}/venv/bin/gunicorn --config {self.current}/gunicorn.conf.py"
                f" {self.text('django_app_wsgi')}"
            ),
            environment=self.environment,
            user=self.user,
            group=self.user,
            groups=self.groups,
            type="notify",
            working_dir=f"{self.current}/project",
            writable=list(self.values.get("django_app_writable") or ()),
            open_files=self.number("service_open_files"),
        )

    @property
    def to_check(self) -> dict[str, Any]:
        """What the checks must know of the project that is to run here, see deployment.hosts; no secret."""
        cache, constraints = self.cache, self.constraints_file
        is_own = bool(self.own_caches)
        return {
            "mode": cache.mode,
            "client": self.client,
            "django": self.django,
            "python": self.python,
            "python_floor": PYTHON_FLOOR,
            "constraints": str(constraints) if constraints else "",
            "variable": "django_app_caches" if is_own else "django_app_cache_aliases",
            "words": cache_words(self.caches),
            "group": cache.deployment.group,
            "servers": [] if cache.mode == "locmem" else cache.deployment.redis,
            # Whoever writes CACHES knows where it leads.
            "nodes": [] if is_own else cache.nodes,
            "sentinels": [] if is_own else cache.sentinels,
            "user": "app" if any(node["acl"] for node in cache.nodes) else "",
            "ca_file": self.ca_file if any(node["tls"] for node in cache.nodes) else "",
            # What this run is about to bring says nothing yet.
            "ca_issued": bool(self.issued_nodes) and not self.text("django_app_redis_ca_file"),
            "bind": [self.text("django_app_bind")],
            "port": self.number("django_app_port"),
            "manager": self.manager.reference(SERVICE),
        }

    # The parts

    @property
    def ready_part(self) -> Part:
        """That it serves and its caches answer."""
        return {"part": "ready", "url": self.url, "wait": 30}

    def parts(self, issued: Issued | None) -> list[Part]:
        """Everything, in the order in which it is applied; ``issued`` is None where no CA certificate is brought."""
        link: Part = {
            "part": "link",
            "name": "release",
            "path": self.current,
            "target": f"releases/{self.release_name}",
        }
        ca = issued.ca if issued and not self.text("django_app_redis_ca_file") else ""
        deployed = self._deployed(self.deployed, self.ca_file, ca)
        return [
            self._check_part(ca, [link, *deployed]),
            link,
            *deployed,
            {
                "part": "service",
                **self.manager.reference(SERVICE),
                "description": self.unit.description,
                "unit": self.unit.unit(self.manager),
                "files": [
                    path
                    for path in (
                        f"{self.deployed}/settings.py",
                        f"{self.deployed}/secrets.json",
                        self.current,
                        self.ca_file,
                    )
                    if path
                ],
                "address": self.text("django_app_bind"),
                "port": self.number("django_app_port"),
                "port_variable": f"django_app_port of {self.name}",
                "restart": True,
            },
            self.ready_part,
        ]

    def _deployed(self, place: str, ca_file: str, ca: str) -> list[Part]:
        """The settings and the secrets in a directory, and the CA certificate in its file where there is one."""
        attributes = {"owner": self.owner, "group": self.user, "mode": "0640"}
        # The CA certificate may have another path than the one in use, wherever the settings name that.
        settings = self.settings.replace(self.ca_file, ca_file) if ca else self.settings
        content = Secret(settings) if self.settings_may_hold_secrets else settings
        return [
            directory(place, self.owner, self.user, "0750"),
            *([{**file(ca_file, ca, **attributes), "name": "ca"}] if ca else []),
            {
                **file(f"{place}/secrets.json", Secret(json.dumps(self.secrets)), **attributes),
                "name": "secrets",
            },
            {**file(f"{place}/settings.py", content, **attributes), "name": "settings"},
        ]

    def _check_part(self, ca: str, checked: list[Part]) -> Part:
        """Django's checks of the caches, before anything is in place: what they refuse is never what serves.

        gunicorn runs no system checks: what is wrong would be found by the first request.
        """
        return {
            "part": "command",
            "name": "check of the caches",
            "argv": [f"{self.release_directory}/venv/bin/django-admin", "check", "--tag=caches"],
            "environment": {**self.environment, "PYTHONPATH": ":".join(_path(self.release_directory, self.aside))},
            "user": self.user,
            "aside": [
                directory(self.aside, self.owner, self.user, "0750"),
                *self._deployed(f"{self.aside}/deployed", f"{self.aside}/redis-ca.crt", ca),
            ],
            "only_if": [part["name"] for part in checked if part["part"] != "directory"],
        }


def _path(release: str, settings: str) -> list[str]:
    """Where Python finds the project and the client of a release, and the package with the settings."""
    return [f"{release}/project", f"{release}/lib", settings]
