"""What to ask a host about its security, and what is wrong with what it says: `make security`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any
from urllib.parse import urlsplit

from deployment.addresses import endpoint, is_loopback
from deployment.model import BUS

FAULT, NOTE = "faults", "notes"
Judged = Iterator[tuple[str, str]]
# The roles that say in `<role>_described` what runs on a host, and in `<role>_secrets` its secrets by name.
REDIS, SENTINEL, APP, EXPORTER = "redis", "redis_sentinel", "django_app", "redis_exporter"
ROLES = (REDIS, SENTINEL, APP, EXPORTER)
# Pages of Django's that everybody may see, and one that there is not.
PAGES = ("/healthz", "/readyz", "/status/", "/", "/no-such-page")
# Without an answer, and Django's answer to a name that it does not know.
UNSEEN = (0, 400)
EXPORTER_PAGES = ("/", "/metrics")
# Processes of the kinds that the bundle runs, by the first 15 characters of their names.
KINDS = re.compile(r"redis|valkey|sentinel|gunicorn|prometheus-redi")
WILDCARDS = ("0.0.0.0", "::")
# What binds may say beside addresses.
NAMED = {"*": WILDCARDS, "localhost": ("127.0.0.1", "::1")}
# Units of packages whose programs the bundle runs under units of its own.
PACKAGED = {"redis-server", "redis-sentinel", "valkey-server", "valkey-sentinel", "prometheus-redis-exporter"}
NO_SHELLS = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false")
# Groups whose members are root sooner or later, or read what is not theirs.
MIGHTY_GROUPS = {"root", "adm", "disk", "docker", "kmem", "lxd", "shadow", "sudo", "systemd-journal", "wheel"}
# The worst score of systemd-analyze, and that of a systemd that does not know all of the sandbox.
EXPOSURE, OLD_EXPOSURE, NEW_SYSTEMD = 1.5, 4.5, 250
LEAST_DAYS = 30
# What Django's checks say of HTTPS, which a project may leave to the web server in front.
# https://docs.djangoproject.com/en/stable/ref/checks/#security
HTTPS_CHECKS = {f"security.W{number:03}" for number in (4, 5, 8, 10, 11, 12, 15, 16, 17, 21)}
LISTS_DAYS = 7
NEW_TLS = ("TLSv1_2", "TLSv1_3")
REFUSALS = ("NOAUTH", "DENIED")
OFF = ("no", "local")
FORCED = {
    "protected-mode": ("yes",),
    "replica-read-only": ("yes",),
    "enable-debug-command": OFF,
    "enable-module-command": OFF,
    "enable-protected-configs": OFF,
}


def security_questions(hostvars: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what to ask a host, as the module security_probe wants it. It holds secrets."""
    own = hostvars[name]
    redis, sentinel, app, exporter = (_described(own, role) for role in ROLES)
    described = [one for one in (redis, sentinel, app, exporter) if one]
    folders = [folder for one in described for folder in one.get("folders", ())]
    questions: dict[str, Any] = {
        "secrets": secrets_of(hostvars),
        "services": [
            {
                "name": one["service"],
                "pid_command": ["systemctl", "show", "--property=MainPID", "--value", one["service"]],
            }
            for one in described
            if own["service_described"]["manager"] == "systemd"
        ],
        "closed": [*folders, *(one["tls"]["key_file"] for one in (redis, sentinel) if one and one.get("tls"))],
        "sockets": [redis["socket"]] if redis and redis.get("socket") else [],
        "sources": [app["settings"]] if app else [],
        "packages": [one["package"] for one in (redis, sentinel, exporter) if one and one.get("package")],
        "tls": [],
        "servers": [],
        "pages": [
            *(app["url"] + page for page in PAGES if app),
            *(exporter["url"] + page for page in EXPORTER_PAGES if exporter),
        ],
        "host": _name_of(app),
    }
    if own["service_described"]["manager"] != "systemd":
        # Somebody's own files lie around those of the bundle.
        questions["folders"] = [*folders, own["service_described"]["logs"]]
    for one, role in ((redis, REDIS), (sentinel, SENTINEL)):
        if one:
            tls = one.get("tls") or {}
            place = {"address": one["here"], "port": one["port"]}
            if tls:
                questions["tls"].append({**place, "name": tls["name"], "ca_file": tls["ca_file"]})
                place |= {"tls_name": tls["name"], "tls_ca_file": tls["ca_file"] or None}
            passwords = dict(own[f"{role}_secrets"])
            questions["servers"].append(
                {**place, "is_sentinel": role == SENTINEL, "passwords": passwords, **one.get("access", {})}
            )
    return questions


def _described(own: Mapping[str, Any], role: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = own.get(f"{role}_described") or {}
    return found


def _name_of(app: Mapping[str, Any]) -> str:
    """The first name that Django takes, "" where it takes the address in the URLs as well."""
    names = app.get("allowed_hosts", [])
    if not names or {"*", urlsplit(app["url"]).hostname}.intersection(names):
        return ""
    return str(names[0]).lstrip(".")


def secrets_of(hostvars: Mapping[str, Any]) -> dict[str, str]:
    """Return the secrets of all hosts by name, each once: one host's must not be on another, either."""
    names: dict[str, str] = {}
    for name in hostvars:
        for role in ROLES:
            for word, value in (hostvars[name].get(f"{role}_secrets") or {}).items():
                if value:
                    names.setdefault(str(value), f"{role} {word}")
    return {name: value for value, name in names.items()}


def security_faults(
    hostvars: Mapping[str, Any], control: Mapping[str, Any], holders: Sequence[str]
) -> dict[str, list[str]]:
    """Return what is wrong, by what the hosts said to the module security_probe in `security_probed`.

    `control` is what the control machine said, where secrets may be in the files that match `holders`. `faults` and
    `notes` are sentences, each with its hosts, what is wrong and what helps, and no secret. Notes are about what the
    bundle cannot set, or does not know.
    """
    found: dict[str, dict[str, list[str]]] = {FAULT: {}, NOTE: {}}
    for name, machine in _machines(hostvars):
        for kind, text in dict.fromkeys(_judge(hostvars, name, machine)):
            found[kind].setdefault(text, []).append(name)
    for kind, text in _control_faults(control, holders):
        found[kind].setdefault(text, []).append("the control machine")
    return {kind: [f"{', '.join(names)}: {text}" for text, names in texts.items()] for kind, texts in found.items()}


def _machines(hostvars: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Each host that was asked, and all that are on the same machine."""
    machines: dict[str, list[str]] = {}
    for name in hostvars:
        if probed := hostvars[name].get("security_probed"):
            machines.setdefault(probed.get("machine", name), []).append(name)
    yield from ((name, names) for names in machines.values() for name in names)


def _control_faults(control: Mapping[str, Any], holders: Sequence[str]) -> Judged:
    if "machine" in control:
        yield from _secret_faults(control["secrets"], [{"holds": holders}])
    else:
        yield FAULT, _unasked(control)


def _unasked(probed: Mapping[str, Any]) -> str:
    if probed.get("unreachable"):
        return "it was not asked, so nothing is known of it: Ansible did not get to it; see what it says above"
    said, why = probed.get("msg", "the probe failed"), "-e '{\"cache_no_log\": false}'"
    return f"it could not be asked: {said}; run again with {why}"


def _judge(hostvars: Mapping[str, Any], name: str, machine: Sequence[str]) -> Judged:
    """Everything about one host; `machine` names the hosts that are on the same one."""
    own = hostvars[name]
    probed = own["security_probed"]
    if "machine" not in probed:
        yield FAULT, _unasked(probed)
        return
    described = [_described(hostvars[one], role) for one in machine for role in ROLES]
    described = [one for one in described if one]
    if not probed["is_root"] and own["service_described"]["manager"] == "systemd":
        yield NOTE, "the probe did not run as root and has not seen everything; use become"
    yield from _secret_faults(probed["secrets"], described, _owners(hostvars, machine))
    for service in probed["services"]:
        yield from _service_faults(service, probed["systemd"])
    yield from _listener_faults(probed["listeners"], described)
    yield from _file_faults(probed)
    yield from _kernel_faults(probed, bool(_described(own, REDIS)))
    for package in probed["packages"]:
        yield from _package_faults(package)
    for tls in probed["tls"]:
        yield from _tls_faults(tls)
    for server in probed["servers"]:
        role = SENTINEL if server["is_sentinel"] else REDIS
        yield from _server_faults(server, _described(own, role))
    for page in probed["pages"]:
        yield from _page_faults(page, _described(own, APP))
    yield from _django_faults(own.get("django_app_checked") or {}, _described(own, APP))
    yield from _asked_faults(own)


def _owners(hostvars: Mapping[str, Any], machine: Sequence[str]) -> tuple[set[str], set[str]]:
    """The users and groups to which files with secrets may belong on a machine; none where nobody can say."""
    services = [service for name in machine for service in hostvars[name]["security_probed"].get("services", ())]
    # One that does not run has no user, and is a fault of its own.
    if not services or not all(service["pid"] for service in services):
        return set(), set()
    groups = {group for service in services for group in service["groups"]}
    return {"root", *(service["user"] for service in services)}, {"root", *groups}


def _was_asked(result: Mapping[str, Any]) -> bool:
    """Whether a registered result is of a task that ran, or was to run and could not."""
    return bool(result) and not result.get("skipped")


def _django_faults(checked: Mapping[str, Any], app: Mapping[str, Any]) -> Judged:
    # One that could not even be run has no code at all.
    if not _was_asked(checked) or checked.get("rc") == 0:
        return
    # Nothing but the names of what is wrong: settings may be in the text.
    names = sorted(set(re.findall(r"\b\w+\.[EW]\d+", checked.get("stderr", "")))) or ["it fails"]
    left = [name for name in names if name in HTTPS_CHECKS and not app.get("https", True)]
    if left:
        yield NOTE, f"manage.py check --deploy: {', '.join(left)}; with django_app_https: false your settings say so"
    if wrong := [name for name in names if name not in left]:
        yield FAULT, f"manage.py check --deploy: {', '.join(wrong)}; see django_app_https and django_app_settings"


def _runs_its_file(firewall: Mapping[str, Any]) -> bool:
    """Whether the rules that run are those of the file, by a result of the module host_apply."""
    sections: Mapping[str, Any] = firewall.get("sections") or {}
    return bool(((sections.get("firewall") or {}).get("firewall_load") or {}).get("same"))


def _asked_faults(own: Mapping[str, Any]) -> Judged:
    """What the exporter and the firewall of a host said, if they were asked."""
    exporter, firewall = own.get("redis_exporter_probed") or {}, own.get("firewall_compared") or {}
    if _was_asked(exporter) and "heard" not in exporter:
        yield FAULT, f"the exporter: {exporter.get('msg', 'it could not be asked')}; run site.yml"
    if _was_asked(firewall) and not _runs_its_file(firewall):
        yield (
            FAULT,
            "the firewall's rules that run are not those of its file; run site.yml, and find out who changes them",
        )


def _secret_faults(
    secrets: Mapping[str, Any],
    described: Sequence[Mapping[str, Any]],
    owners: tuple[set[str], set[str]] = (set(), set()),
) -> Judged:
    users, groups = owners
    holders = [pattern for one in described for pattern in one.get("holds", ())]
    for name in secrets["short"]:
        yield FAULT, f"the secret {name} has fewer than 8 characters; make a new one with `make secret`"
    for file in secrets["files"]:
        mode = int(file["mode"], 8)
        what = f"{file['path']} ({file['mode']} {file['owner']}:{file['group']}) has {_and(file['secrets'])}"
        if file["is_log"]:
            yield FAULT, f"{what}: a log must not; change that secret, and delete the line"
        elif not any(fnmatch(file["path"], pattern) for pattern in holders):
            yield FAULT, f"{what}, which does not belong there; delete it, and change that secret if others read it"
        elif mode & 0o007:
            yield FAULT, f"{what}, and everybody may open it; run site.yml, and change that secret"
        elif mode & 0o020:
            yield FAULT, f"{what}, and its group may write it; run site.yml"
        elif users and (file["owner"] not in users or (mode & 0o070 and file["group"] not in groups)):
            yield (
                FAULT,
                f"{what}, and belongs neither to root nor to a service; run site.yml, and change that secret",
            )
    for process in secrets["processes"]:
        where = "its arguments, which everybody sees" if process["in"] == "cmdline" else "its environment"
        yield (
            FAULT,
            f"process {process['pid']} ({process['name']}) has {_and(process['secrets'])} in {where}; use a file",
        )
    for unit in secrets["journal"]:
        text = f"the journal of {unit['unit']} has {_and(unit['secrets'])} ({unit['entries']} entries)"
        yield FAULT, f"{text}; change that secret, and journalctl --rotate --vacuum-time=1s"
    for unit in secrets["units"]:
        yield FAULT, f"systemctl show {unit['unit']} has {_and(unit['secrets'])}; take it out of the unit"


def _and(names: Sequence[str]) -> str:
    return "the secret " + " and ".join(names)


def _service_faults(service: Mapping[str, Any], systemd: int) -> Judged:
    name = service["name"]
    if not service["pid"]:
        yield FAULT, f"{name} does not run, so nothing is known of it; run site.yml"
        return
    user = service["user"]
    if user == "root":
        yield FAULT, f"{name} runs as root; give it a user of its own"
    elif service["shell"] not in NO_SHELLS:
        yield (
            FAULT,
            f"{name}: its user {user} has the shell {service['shell']}; usermod --shell /usr/sbin/nologin {user}",
        )
    if service["is_locked"] is False:
        yield FAULT, f"{name}: its user {user} has a password; passwd --lock {user}"
    if mighty := sorted(MIGHTY_GROUPS.intersection(service["groups"])):
        yield FAULT, f"{name}: its user {user} is in {', '.join(mighty)}; take it out of there"
    if service["capabilities"]:
        yield (
            FAULT,
            f"{name} has capabilities ({', '.join(service['capabilities'])}); CapabilityBoundingSet= in its unit",
        )
    if not service["no_new_privileges"]:
        yield FAULT, f"{name} may gain privileges; NoNewPrivileges=yes in its unit"
    if service["seccomp"] != 2:
        yield FAULT, f"{name} may use every system call; SystemCallFilter=@system-service in its unit"
    if int(service["umask"], 8) & 0o007 != 0o007:
        yield FAULT, f"{name} makes files that everybody may open (umask {service['umask']}); UMask=0077 in its unit"
    worst = EXPOSURE if systemd >= NEW_SYSTEMD else OLD_EXPOSURE
    if service["exposure"] is None:
        yield FAULT, f"{name} has no score of systemd-analyze security; look why"
    elif service["exposure"] > worst:
        yield FAULT, f"{name} has the exposure {service['exposure']}, and {worst} is the worst; see its drop-ins"


def _listener_faults(listeners: Sequence[Mapping[str, Any]], described: Sequence[Mapping[str, Any]]) -> Judged:
    expected = {place for one in described for place in _places(one)}
    services = {one["service"] for one in described}
    for one in listeners:
        place = f"{one['protocol']} {endpoint(one['address'], one['port'])}"
        owner = one["unit"] or one["process"] or "somebody"
        is_wild = one["address"] in WILDCARDS
        is_expected = (one["address"], one["port"]) in expected
        if is_expected and one["protocol"] == "tcp":
            if is_wild:
                yield NOTE, f"{owner} listens on every address, {place}, as the inventory says; rather name one"
        elif one["unit"] in services or (
            KINDS.match(one["process"]) and (one["unit"] in PACKAGED or not is_loopback(one["address"]))
        ):
            why = "on every address" if is_wild else "and the inventory does not say so"
            yield FAULT, f"{owner} ({one['process']}) listens on {place}, {why}; bind it, or stop it"
        elif one["port"] in {port for _, port in expected} and one["protocol"] == "tcp" and is_wild:
            yield FAULT, f"{owner} listens on {place}, which is a port of the bundle's; stop it"


def _places(described: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    ports = [described["port"], *([described["port"] + BUS] if described.get("is_cluster") else [])]
    for address in (one.lstrip("-") for one in described["bind"]):
        yield from ((one, port) for one in NAMED.get(address) or _addresses(address) for port in ports)


def _addresses(address: str) -> tuple[str, ...]:
    """An address as listeners have it; of another name nobody knows here which one is meant."""
    try:
        return (str(ipaddress.ip_address(address)),)
    except ValueError:
        return ()


def _file_faults(probed: Mapping[str, Any]) -> Judged:
    for file in probed["closed"]:
        mode, what = int(file["mode"], 8), f"{file['path']} ({file['mode']} {file['owner']}:{file['group']})"
        if mode & 0o002:
            yield FAULT, f"everybody may write {what}; chmod o-rwx, and run site.yml"
        elif mode & 0o007 and not file["is_folder"]:
            yield FAULT, f"everybody may open {what}; chmod o-rwx, and run site.yml"
    for file in probed["sockets"]:
        if int(file["mode"], 8) & 0o002:
            yield FAULT, f"everybody may connect to {file['path']} ({file['mode']}); close it to all but the group"
    for line in probed["sources"]:
        yield FAULT, f"{line['path']}, line {line['line']}: {line['text']}: TLS that checks nothing; take it out"


def _kernel_faults(probed: Mapping[str, Any], has_redis: bool) -> Judged:
    # Containers have the kernel of their machine.
    kind = NOTE if probed["container"] else FAULT
    if has_redis and probed["kernel"]["overcommit_memory"] != "1":
        yield kind, "vm.overcommit_memory is not 1: a background save may fail; restart Redis as root, or sysctl it"
    if has_redis and probed["kernel"]["transparent_hugepages"] == "always":
        yield kind, "transparent huge pages are always on: latency and memory suffer; set them to madvise"


def _package_faults(package: Mapping[str, Any]) -> Judged:
    name, installed, candidate = package["name"], package["installed"], package["candidate"]
    if installed != candidate and installed:
        yield FAULT, f"{name} {installed} is installed, and there is {candidate}; apt-get install --only-upgrade {name}"
    if package["age_days"] is None or package["age_days"] > LISTS_DAYS:
        yield NOTE, f"nobody has asked for newer packages for more than {LISTS_DAYS} days; apt-get update"


def _tls_faults(tls: Mapping[str, Any]) -> Judged:
    place = endpoint(tls["address"], tls["port"])
    if tls["error"]:
        yield FAULT, f"{place}: a client at the name {tls['name']} refuses the certificate: {tls['error']}; renew it"
    if tls["plain"]:
        yield FAULT, f"{place} answers without TLS; set redis_tls, and run site.yml"
    for version in NEW_TLS:
        if version not in tls["versions"]:
            yield FAULT, f"{place} does not take {version}; see tls-protocols in redis_config"
    for version in tls["versions"]:
        if version not in NEW_TLS:
            yield FAULT, f'{place} takes the outdated {version}; tls-protocols "TLSv1.2 TLSv1.3" in redis_config'
    if tls["weak_cipher"]:
        yield FAULT, f"{place} takes the weak cipher {tls['weak_cipher']}; see tls-ciphers in redis_config"
    if tls["any_name"]:
        yield FAULT, f"{place}: its certificate is taken for a name that it is not for; renew it with its own names"
    for word, what in (("days_left", "certificate"), ("authority_days_left", "certificate's authority")):
        if tls[word] is not None and tls[word] < LEAST_DAYS:
            yield FAULT, f"{place}: its {what} expires in {tls[word]} days; renew it"


def _server_faults(server: Mapping[str, Any], described: Mapping[str, Any]) -> Judged:
    what = "the Sentinel" if server["is_sentinel"] else "Redis"
    place = f"{what} on {endpoint(server['address'], server['port'])}"
    for command, reply in server["stranger"].items():
        if reply not in REFUSALS:
            yield FAULT, f"{place} answers {command} of a client without a password ({reply}); run site.yml"
    if server["guesses"]:
        yield FAULT, f"{place} lets the user default in with a password that is easily guessed; run site.yml"
    if server["error"]:
        yield FAULT, f"{place} could not be asked further: {server['error']}; run site.yml"
        return
    if server["users"]:
        yield from _user_faults(server, place)
    for setting, wanted in FORCED.items():
        if server["config"].get(setting, wanted[0]) not in wanted:
            yield (
                FAULT,
                f"{place} has {setting} {server['config'][setting]}; it should be {wanted[0]}; see redis_config",
            )
    if described.get("tls") and not server["is_sentinel"]:
        encrypted = {"port": "0", "tls-replication": "yes"}
        encrypted |= {"tls-cluster": "yes"} if described.get("is_cluster") else {}
        for setting, value in encrypted.items():
            if server["config"].get(setting) != value:
                text = f"has {setting} {server['config'].get(setting)}, and with TLS it should be {value}"
                yield FAULT, f"{place} {text}; run site.yml"


def _user_faults(server: Mapping[str, Any], place: str) -> Judged:
    for user in server["users"]:
        name = user["name"]
        if name not in server["logins"] and user["is_on"]:
            yield FAULT, f"{place}: the user {name} is on, and the inventory does not know it; run site.yml"
        if user["needs_none"] and user["is_on"]:
            yield FAULT, f"{place}: the user {name} needs no password; run site.yml"
        if user["passwords"] > 1:
            text = f"the user {name} has {user['passwords']} passwords"
            yield FAULT, f"{place}: {text}, and so the former one still opens it; run the whole of site.yml"
        if user["more"]:
            text = f"the user {name} has rules that the inventory does not give it: {' '.join(user['more'])}"
            yield FAULT, f"{place}: {text}; run site.yml"
    for name, reply in server["logins"].items():
        if reply != "OK":
            yield FAULT, f"{place}: the user {name} does not get in with its password ({reply}); run site.yml"
    for name, commands in server["may"].items():
        if commands:
            yield FAULT, f"{place}: the user {name} may {', '.join(commands)}; run site.yml"
    for entry in server["denied"]:
        text = f"the user {entry['user']} was denied {entry['object']} ({entry['reason']}, {entry['count']} times)"
        yield FAULT, f"{place}: {text}; see who asks, or let it in redis_app_rules, then ACL LOG RESET"


def _page_faults(page: Mapping[str, Any], app: Mapping[str, Any]) -> Judged:
    is_app = bool(app) and page["url"].startswith(app["url"])
    if is_app and page["status"] in UNSEEN:
        said = f"the status {page['status']}" if page["status"] else "nothing"
        name = f" at the name {_name_of(app)}" if _name_of(app) else ""
        yield FAULT, f"{page['url']} answers {said}{name}, so nothing is known of it; see django_app_allowed_hosts"
    if page["secrets"]:
        yield FAULT, f"{page['url']} shows {_and(page['secrets'])}; change that secret"
    # An exporter's are for those who may see the inside.
    if page["words"] and is_app:
        yield FAULT, f"{page['url']} tells of the inside: {', '.join(page['words'])}; DEBUG must be off"
