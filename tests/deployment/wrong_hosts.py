"""What is wrong with hosts: each with the rules that say so, and the words of the first one."""

from __future__ import annotations

from sample_hosts import (
    APP_TO_1,
    FIREWALLED,
    GIB,
    ISSUED,
    REPLICA_TO_1,
    Change,
    add,
    connected,
    facts,
    installed,
    issued,
    listening,
    mode,
    nodes_as_leaders,
    one_machine,
    put,
    runs,
    sentinel_alone,
    tls,
    together,
)

# What happens, the rule that says so (in which order they are printed), and words of the first one.
WRONG: dict[str, tuple[Change, list[str], list[str]]] = {
    "a server that Ansible does not get to": (
        lambda hostvars: hostvars["redis-2"].clear(),
        ["silent-host"],
        ["redis-2: it was not asked who leads", "--limit app-1,redis "],
    ),
    # Memory and disks
    "more memory than there is": (
        put("redis-1/redis_wanted/maxmemory", "10gb"),
        ["memory-too-small"],
        ["redis-1: redis_maxmemory = '10gb'", "more than 60 % of host memory (4 GiB)", "write 2457mb or less"],
    ),
    "bytes": (put("redis-1/redis_wanted/maxmemory", "4000000000"), ["memory-too-small"], ["redis-1: redis_maxmemory"]),
    "memory in redis_config": (
        together(
            put("redis-1/redis_wanted/maxmemory_variable", "redis_config.maxmemory"),
            put("redis-1/redis_wanted/maxmemory", 3 * GIB),
        ),
        ["memory-too-small"],
        [f"redis-1: redis_config.maxmemory = {3 * GIB}"],
    ),
    "two servers on a machine": (
        one_machine,
        ["memory-too-small"],
        ["group redis: redis_maxmemory = '2gb'", "(redis-1, redis-2) may take 4 GiB", "write 1228mb or less"],
    ),
    "a small disk": (
        put("redis-1/host_probed/disk", {"folder": "/var/lib", "device": 1, "free": GIB, "used": GIB // 2}),
        ["disk-too-small"],
        [
            "redis-1: redis_data_dir = '/var/lib/redis/6379'",
            "the disk of /var/lib has room for 1.5 GiB",
            "1536mb or less",
        ],
    ),
    "two servers on a disk": (
        together(
            put("redis-1/redis_wanted/maxmemory", "1gb"),
            put("redis-2/redis_wanted/maxmemory", "1gb"),
            one_machine,
            put("redis-1/host_probed/disk", {"folder": "/data", "device": 1, "free": GIB, "used": 0}),
            put("redis-2/host_probed/disk", {"folder": "/data", "device": 1, "free": GIB, "used": GIB // 4}),
        ),
        ["disk-too-small"],
        ["group redis", "has room for 1.2 GiB", "may need 2 GiB"],
    ),
    # Ports
    "a port of somebody else": (
        put("redis-1/host_probed/listeners/0", listening("taken", text="nginx (process 7)")),
        ["port-taken"],
        ["redis-1: redis_port = 6379: it is taken on 10.0.0.1 by nginx (process 7)", "set redis_port to a free port"],
    ),
    "the bus of a cluster": (
        together(
            mode("cluster"),
            nodes_as_leaders,
            add("redis-1/host_probed/listeners", listening("taken", port=16379, text="x")),
        ),
        ["port-taken"],
        ["redis-1: redis_port = 6379: 16379, the port of the cluster's bus, is taken on 10.0.0.1 by x"],
    ),
    "Django's port": (
        put("app-1/host_probed/listeners/0/state", "taken"),
        ["port-taken"],
        ["app-1: django_app_port = 8000", "set django_app_port to a free port"],
    ),
    "an exporter's port": (
        add("redis-1/host_probed/listeners", listening("taken", port=9121, variable="redis_exporter_port", text="x")),
        ["port-taken"],
        ["redis-1: redis_exporter_port = 9121", "set redis_exporter_port to a free port"],
    ),
    "an address of another machine for an exporter": (
        add("redis-1/host_probed/listeners", listening("impossible", port=9121, variable="redis_exporter_port")),
        ["address-not-here"],
        ["redis-1: redis_exporter_bind = '10.0.0.1'"],
    ),
    "an address of another machine": (
        put("redis-1/host_probed/listeners/0", listening("impossible", text="Cannot assign requested address")),
        ["address-not-here"],
        ["redis-1: redis_bind = '10.0.0.1'", "Cannot assign requested address", "(10.0.0.1, fe80::1)"],
    ),
    # Addresses
    "a leader that a replica finds in itself": (
        put(f"{REPLICA_TO_1}/resolved", ["127.0.1.1"]),
        ["address-is-loopback"],
        [
            "redis-2: redis_address of redis-1",
            "leads to 127.0.1.1, which is redis-2",
            "would replicate from itself",
            "set redis_address",
        ],
    ),
    "a leader under the address of its replica": (
        put(f"{REPLICA_TO_1}/resolved", ["10.0.0.2"]),
        ["address-is-loopback"],
        ["leads to 10.0.0.2, which is redis-2"],
    ),
    "a server that Django finds in itself": (
        put(f"{APP_TO_1}/resolved", ["::1"]),
        ["address-is-loopback"],
        ["app-1: redis_address of redis-1", "it would ask itself instead of redis-1"],
    ),
    "a server on Django's machine that does not listen on loopback": (
        together(put("app-1/ansible_facts", facts("redis-1")), put(f"{APP_TO_1}/resolved", ["127.0.1.1"])),
        ["address-is-loopback"],
        ["where redis-1 does not listen", "the line of 127.0.1.1 in /etc/hosts of app-1"],
    ),
    "an unknown name": (
        put(
            APP_TO_1,
            connected("redis-1", "unresolvable", resolved=[], text="Name or service not known", address="redis-one"),
        ),
        ["unreachable-server"],
        ["app-1: redis_address of redis-1 = 'redis-one': this host does not know the name", "write an IP address"],
    ),
    "a firewall": (
        put(REPLICA_TO_1, connected("redis-1", "timeout", text="no answer")),
        ["unreachable-server"],
        [
            "redis-2: redis_address of redis-1 = '10.0.0.1'",
            "does not get through to port 6379 there (no answer)",
            "firewalls",
        ],
    ),
    "a firewall of somebody else": (
        together(FIREWALLED, put(REPLICA_TO_1, connected("redis-1", "unreachable", text="Host is prohibited"))),
        ["unreachable-server"],
        ["(Host is prohibited)"],
    ),
    "no route": (
        put(APP_TO_1, connected("redis-1", "unreachable", text="No route to host")),
        ["unreachable-server"],
        ["(No route to host)", "write an address of redis-1 that this host reaches"],
    ),
    "an address that leads elsewhere": (
        put(f"{APP_TO_1}/outcome", "open"),
        ["wrong-server"],
        [
            "app-1: redis_address of redis-1 = '10.0.0.1': something answers there on port 6379",
            "on redis-1 nothing does",
        ],
    ),
    "another server that runs": (
        together(runs("redis-1"), put(f"{APP_TO_1}/reply", "WRONGPASS invalid username-password pair")),
        ["wrong-server"],
        [
            "takes the inventory's settings on its own host, and to this one it says: WRONGPASS",
            "write the address of redis-1",
        ],
    ),
    "an authority that Django does not trust": (
        together(
            runs("redis-1"), put(f"{APP_TO_1}/reply", "[SSL] certificate verify failed: unable to get local issuer")
        ),
        ["wrong-server"],
        ["write django_app_redis_ca_file"],
    ),
    # Versions
    "a server of one's own that does not start": (
        together(
            put("redis-1/redis_wanted/server_bin", "/opt/redis-server"),
            put("redis-1/redis_wanted/program", "/opt/redis-server"),
            put(
                "redis-1/host_probed/programs",
                {"/opt/redis-server": {"version": "", "text": "No such file or directory"}},
            ),
        ),
        ["server-program"],
        ["redis-1: redis_server_bin = '/opt/redis-server': it does not start here: No such file"],
    ),
    "Redis 4": (
        together(installed("redis-1", "4.0.14"), installed("redis-2", "4.0.14")),
        ["server-too-old"],
        ["group redis: its server is 4.0.14, and 5.0 or later is needed"],
    ),
    "a replica that is older": (
        put("redis-2/host_probed/candidate", "6.0.16"),
        ["replica-older-than-leader"],
        ["redis-2: its server is 6.0.16, and its leader redis-1 is 7.0.15: it could not sync", "upgrade redis-2"],
    ),
    "a replica that is a little older": (
        together(installed("redis-1", "7.2.0"), installed("redis-2", "7.0.15")),
        ["replica-older-than-leader"],
        ["redis-2"],
    ),
    "an upgrade that would make the leader newer": (
        together(runs("redis-2", "6.2.14", role="replica"), runs("redis-1", "6.2.14"), installed("redis-1", "7.0.15")),
        ["replica-older-than-leader"],
        ["its leader redis-1 is 7.0.15"],
    ),
    "a leader under Sentinel that is older": (
        together(mode("sentinel"), installed("redis-1", "6.0.16")),
        ["mixed-versions"],
        ["redis-1: its server is 6.0.16, and redis-2 is 7.0.15: it could not follow it"],
    ),
    "a replica under Sentinel that is older": (
        together(mode("sentinel"), installed("redis-2", "6.0.16")),
        ["replica-older-than-leader"],
        ["redis-2"],
    ),
    "a new cluster of mixed versions": (
        together(mode("cluster"), nodes_as_leaders, installed("redis-1", "6.0.16")),
        ["replica-older-than-leader"],
        ["redis-1", "leader redis-2 is 7.0.15"],
    ),
    "a cluster that is upgraded in the wrong order": (
        together(
            mode("cluster"),
            nodes_as_leaders,
            runs("redis-1", "7.0.15", cluster=True),
            runs("redis-2", "6.2.14", role="replica", cluster=True, leader_address="10.0.0.1", leader_port=6379),
        ),
        ["replica-older-than-leader"],
        ["redis-2"],
    ),
    "a cluster that is being upgraded": (
        together(
            mode("cluster"),
            nodes_as_leaders,
            runs("redis-1", "6.2.14", cluster=True),
            runs("redis-2", "7.0.15", role="replica", cluster=True, leader_address="10.0.0.1", leader_port=6379),
        ),
        ["mixed-versions"],
        ["redis-1"],
    ),
    "TLS with Redis 5": (
        together(tls(), installed("redis-1", "5.0.14"), put("redis-2/redis_wanted/mode", "standalone")),
        ["server-features"],
        ["redis-1: redis_tls = True: TLS came with version 6.0, and its server is 5.0.14"],
    ),
    "users on a server of Redis 5": (
        together(put("redis-2/redis_wanted/user", "app"), installed("redis-2", "5.0.14"), mode("standalone")),
        ["server-features"],
        ["redis-2: redis_acl = True: users came with version 6.0, and its server is 5.0.14", "or write false"],
    ),
    "users with Redis 5": (
        together(
            installed("redis-1", "5.0.14"),
            put("app-1/django_app_wanted/words", [["default", "username", "app"]]),
        ),
        ["server-features"],
        [
            "app-1: django_app_cache_aliases.default.username = 'app'",
            "users came with version 6.0, and redis-1 is 5.0.14",
        ],
    ),
    "RESP3 with Redis 5": (
        together(
            installed("redis-1", "5.0.14"),
            put("app-1/django_app_wanted/words", [["default", "protocol", 3]]),
        ),
        ["server-features"],
        ["django_app_cache_aliases.default.protocol = 3: RESP3 came with version 6.0", "write 2"],
    ),
    "the protocol of redis-py 8 with Redis 5": (
        together(
            installed("redis-1", "5.0.14"),
            put("app-1/django_app_wanted/variable", "django_app_caches"),
            put("app-1/django_app_wanted/words", [["default", "protocol", None]]),
        ),
        ["server-features"],
        ["django_app_caches.default.protocol: RESP3, which redis-py 8 speaks by default, came with", "write 2"],
    ),
    "names for an old Sentinel": (
        together(
            mode("sentinel"),
            put("redis-1/redis_sentinel_wanted", {"by_name": True, "bind": ["10.0.0.1"], "floor": "5.0"}),
            installed("redis-1", "6.0.16"),
            installed("redis-2", "6.0.16"),
        ),
        ["server-features"],
        ["redis-1: redis_address: Sentinel knows names from version 6.2 on, and this one is 6.0.16"],
    ),
    "an old Python": (
        put("app-1/host_probed/programs", {"python3": {"version": "3.9.2", "text": ""}}),
        ["python", "libraries"],
        [
            "app-1: django_app_django_version = '5.2': Django 5.2 needs Python 3.11 or later, and python3 is 3.9.2",
            "(3.2, 4.2)",
        ],
    ),
    "a Python that is too new": (
        together(
            put("app-1/host_probed/programs", {"python3": {"version": "3.13.5", "text": ""}}),
            put("app-1/django_app_wanted/django", "3.2"),
            put("app-1/django_app_wanted/constraints", ""),
        ),
        ["python"],
        ["does not start on a Python later than 3.12", "(4.2, 5.2, 6.1)"],
    ),
    "a Python of one's own that is not there": (
        together(
            put("app-1/django_app_wanted/python", "/opt/python3"),
            put("app-1/host_probed/programs", {"/opt/python3": {"version": "", "text": "No such file or directory"}}),
        ),
        ["python"],
        ["app-1: django_app_python = '/opt/python3': it does not start here: No such file"],
    ),
    # TLS
    "no certificate": (
        tls(("cert_file", "missing", "No such file")),
        ["certificate"],
        ["redis-1: redis_tls_cert_file = '/etc/tls/redis.pem': there is no such file on this host"],
    ),
    "a key for root alone": (
        tls(("key_file", "closed", "redis")),
        ["certificate"],
        ["redis_tls_key_file = '/etc/tls/redis.key': the user redis may not read it", "chmod 640"],
    ),
    "another key": (
        tls(("key_file", "mismatch", "KEY_VALUES_MISMATCH")),
        ["certificate"],
        ["redis-1: redis_tls_key_file = '/etc/tls/redis.key': it is not the key of the certificate /etc/tls/redis.pem"],
    ),
    "another name": (
        tls(("cert_file", "name", "IP address mismatch")),
        ["certificate"],
        ["the certificate is for redis-1, not 10.0.0.1", "have one made for 10.0.0.1"],
    ),
    "expired": (
        tls(("cert_file", "expired", "Jan  1 00:00:00 2024 GMT"), days=-9),
        ["certificate"],
        ["it expired on Jan  1 00:00:00 2024 GMT", "renew it"],
    ),
    "not valid yet": (tls(("cert_file", "early", "Jan  1")), ["certificate"], ["it is valid from Jan  1 on", "clock"]),
    "another authority": (
        tls(("cert_file", "untrusted", "self-signed certificate")),
        ["certificate"],
        ["the authority in /etc/tls/ca.pem does not vouch for it: self-signed certificate", "redis_tls_ca_file"],
    ),
    "an authority that is over": (
        tls(("ca_file", "outdated", "certificate has expired")),
        ["certificate"],
        ["redis_tls_ca_file = '/etc/tls/ca.pem'", "the authority itself is not valid now"],
    ),
    "no certificate in the file": (
        tls(("ca_file", "unreadable", "NO_CERTIFICATE_OR_CRL_FOUND")),
        ["certificate"],
        ["redis_tls_ca_file", "NO_CERTIFICATE_OR_CRL_FOUND", "PEM"],
    ),
    "all at once": (
        tls(("cert_file", "missing", ""), ("key_file", "missing", ""), ("ca_file", "missing", "")),
        ["certificate"] * 3,
        ["redis_tls_cert_file"],
    ),
    "Django's authority": (
        together(
            put("app-1/django_app_wanted/ca_file", "/etc/tls/ca.pem"),
            put("app-1/host_probed/ca_faults", [{"file": "ca_file", "kind": "missing", "text": "No such file"}]),
        ),
        ["certificate"],
        ["app-1: django_app_redis_ca_file = '/etc/tls/ca.pem': there is no such file on this host"],
    ),
    "a certificate that expires soon": (
        tls(days=29),
        ["certificate-expires"],
        ["redis-1", "it expires in 29 days", "renew it"],
    ),
    "a certificate of the bundle's authority that expires soon": (
        together(issued, runs("redis-1", days_left=29)),
        ["certificate-expires"],
        ["redis-1: redis_tls = True: its certificate expires in 29 days", "run make renew_tls"],
    ),
    "no folder of the authority that the host trusts": (
        together(issued, put("redis-1/host_probed/issued_by", "0ld")),
        ["authority"],
        [
            "redis-1: redis_tls_authority_dir = '/prod/secrets/tls': the host trusts the authority of an earlier run",
            "is none",
        ],
    ),
    "another authority than the one that the host trusts": (
        together(issued, put("redis-1/redis_wanted/tls/authority", "n3w"), put("redis-1/host_probed/issued_by", "0ld")),
        ["authority"],
        ["in this folder there is another one", "copy the folder", "-e '{redis_tls_new_authority: true}'"],
    ),
    "another authority than the one that a host with a Sentinel alone trusts": (
        together(
            sentinel_alone("redis-2"),
            put("redis-2/redis_sentinel_wanted/tls", ISSUED),
            put("redis-2/host_probed/issued_by", "0ld"),
        ),
        ["authority"],
        ["redis-2: redis_tls_authority_dir = '/prod/secrets/tls': the host trusts the authority of an earlier run"],
    ),
    "a CA that expires soon": (
        together(issued, put("redis-1/redis_wanted/tls/ca_days_left", 29)),
        ["ca-expires"],
        ["redis-1: redis_tls_authority_dir = '/prod/secrets/tls': the CA expires in 29 days, and all certificates"],
    ),
    "a certificate that expires now": (tls(days=0), ["certificate-expires"], ["it expires within two days"]),
    "two things at once": (
        together(
            put("redis-1/redis_wanted/maxmemory", "1tb"), put("redis-1/redis_wanted/maxmemory", "9gb"), tls(days=1)
        ),
        ["memory-too-small", "certificate-expires"],
        ["redis-1: redis_maxmemory"],
    ),
}
