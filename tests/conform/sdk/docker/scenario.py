"""Calls of Docker's SDK for Python; prints a line for each, its name and the answer."""

import io
import json
import tarfile
import time

import docker
from docker import errors, types

IMAGE = "busybox:latest"


def plain(value):
    """The answer as JSON has it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        if "Mounts" in value and value["Mounts"]:
            # dockerd has them in no order.
            value = value | {"Mounts": sorted(value["Mounts"], key=lambda mount: mount["Destination"])}
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "attrs"):
        return plain(value.attrs)
    return value


def call(name, function, /, *arguments, **options):
    """Makes the call, prints what came of it and returns that."""
    answer = None
    try:
        answer = function(*arguments, **options)
        shown = plain(answer)
    except errors.APIError as error:
        shown = {"error": {"status": error.status_code, "message": error.explanation}}
    except errors.DockerException as error:
        shown = {"error": {"kind": type(error).__name__, "message": str(error)}}
    print(name, json.dumps(shown, sort_keys=True), flush=True)
    return answer


def archive_of(name, text, mode=0o640):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(text)
        entry.mode = mode
        entry.mtime = 1
        archive.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def entries_of(chunks):
    """What is in an archive, but for times."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        return [
            [entry.name, entry.type.decode(), oct(entry.mode), entry.uid, entry.gid,
             entry.linkname,
             archive.extractfile(entry).read().decode() if entry.isfile() else None]
            for entry in archive
        ]


def until(found, limit=20.0):
    """Waits for a condition."""
    end = time.monotonic() + limit
    while not found():
        if time.monotonic() > end:
            raise TimeoutError("the condition did not come")
        time.sleep(0.05)


def system(api):
    call("ping", api.ping)
    call("version", api.version)
    info = api.info()
    kept = ["Containers", "ContainersRunning", "Images", "OSType", "Plugins", "Swarm",
            "DefaultRuntime", "MemoryLimit", "SwapLimit", "IPv4Forwarding", "Isolation",
            "ServerVersion", "CgroupDriver", "CgroupVersion",
            "ExperimentalBuild", "InitBinary", "LiveRestoreEnabled", "LoggingDriver"]
    call("info", lambda: {key: info.get(key, "absent") for key in kept})
    call("info-fields", lambda: sorted(info))


def images(api):
    def pull(name, tag):
        lines = list(api.pull(name, tag=tag, stream=True, decode=True))
        told = [line["status"] for line in lines if not line.get("progressDetail")]
        # Said only when there was something to wait for.
        return [status for status in told if status != "Verifying Checksum"]

    call("pull", pull, "busybox", "latest")
    call("pull-again", pull, "busybox", "latest")
    call("pull-missing", pull, "localhost:5000/nothing", "latest")
    call("image-inspect", api.inspect_image, IMAGE)
    call("image-inspect-missing", api.inspect_image, "nothing:1")
    call("images", api.images)
    call("images-filtered", api.images, filters={"reference": "alpine"})
    call("images-bad-filter", api.images, filters={"nonsense": "x"})
    call("image-history", api.history, IMAGE)
    call("image-tag", api.tag, IMAGE, "local/copy", "one")
    call("image-tag-bad", api.tag, IMAGE, "Local/Upper", "one")
    call("image-tags", lambda: sorted(api.inspect_image(IMAGE)["RepoTags"]))
    call("image-remove", api.remove_image, "local/copy:one")
    call("image-remove-missing", api.remove_image, "local/copy:one")
    call("image-import", api.import_image_from_data,
         archive_of("etc/hostname", "x\n"), repository="local/imported", tag="1")
    call("image-import-inspect", lambda: api.inspect_image("local/imported:1")["Config"])
    saved = b"".join(api.get_image("local/imported:1"))
    api.remove_image("local/imported:1")
    call("image-load", lambda: list(api.load_image(saved)))
    call("image-remove-loaded", api.remove_image, "local/imported:1")
    call("image-prune", api.prune_images, {"dangling": True})


def create(api):
    host = api.create_host_config(
        binds=["data:/data:rw"], cap_add=["NET_ADMIN"], cap_drop=["MKNOD"],
        cpu_shares=512, dns=["10.9.9.9"], extra_hosts={"far": "10.8.8.8"}, init=True,
        log_config=types.LogConfig(type="json-file", config={"max-size": "1m"}),
        mem_limit="64m", memswap_limit="128m", pids_limit=50,
        port_bindings={"80/tcp": [("127.0.0.1", 18080), ("127.0.0.1", None)]},
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
        security_opt=["no-new-privileges"], shm_size="8m", sysctls={"net.core.somaxconn": "200"},
        tmpfs={"/scratch": "size=1m"}, ulimits=[types.Ulimit(name="nofile", soft=100, hard=200)],
    )
    call("create", api.create_container, IMAGE,
         ["sh", "-c", "trap 'echo end; exit 3' TERM; echo out; echo err >&2; while :; do sleep 0.1; done"],
         name="first", environment={"A": "1", "B": "two words"}, labels={"of": "scenario"},
         ports=[80], volumes=["/data", "/anonymous"], working_dir="/tmp", user="root",
         stop_signal="SIGTERM", hostname="front", domainname="example",
         healthcheck=types.Healthcheck(test=["NONE"]), host_config=host)
    call("create-same-name", api.create_container, IMAGE, "true", name="first")
    call("create-bad-name", api.create_container, IMAGE, "true", name="-bad")
    call("create-no-image", api.create_container, "nothing:1", "true")
    call("create-no-command", api.create_container, IMAGE, "", name="empty", entrypoint=[""])
    call("create-bad-memory", api.create_container, IMAGE, "true",
         host_config=api.create_host_config(mem_limit="1m"))
    call("create-bad-mode", api.create_container, IMAGE, "true",
         host_config={"NetworkMode": "container:nobody"}, name="joined")
    call("create-bad-bind", api.create_container, IMAGE, "true",
         host_config={"Binds": ["relative/path:/data"]})
    call("create-bad-port", api.create_container, IMAGE, "true",
         host_config={"PortBindings": {"80/tcp": [{"HostPort": "notaport"}]}})
    call("inspect-created", api.inspect_container, "first")
    for name in ["empty", "joined"]:
        try:
            api.remove_container(name)
        except errors.NotFound:
            pass


def run(api):
    call("start", api.start, "first")
    call("start-again", api.start, "first")
    call("start-missing", api.start, "nobody")
    until(lambda: b"err" in api.logs("first"))
    call("inspect-running", api.inspect_container, "first")
    call("inspect-size", lambda: sorted(set(api._result(
        api._get(api._url("/containers/first/json"), params={"size": 1}), True))
        - set(api.inspect_container("first"))))
    call("containers", api.containers, all=True)
    call("containers-label", lambda: [one["Names"] for one in api.containers(filters={"label": "of=scenario"})])
    call("containers-none", api.containers, filters={"status": "exited"})
    call("containers-bad-filter", api.containers, filters={"status": "nonsense"})
    call("logs-both", lambda: sorted(api.logs("first").decode().splitlines()))
    call("logs-stdout", api.logs, "first", stderr=False)
    call("logs-stderr", api.logs, "first", stdout=False)
    call("logs-tail-none", api.logs, "first", tail=0)
    call("logs-since", api.logs, "first", since=int(time.time()) + 1000)
    call("logs-timestamps", api.logs, "first", stderr=False, timestamps=True)
    call("logs-none", api.logs, "first", stdout=False, stderr=False)
    call("logs-missing", api.logs, "nobody")
    call("top", lambda: [api.top("first", "-o pid,args")["Titles"],
                         len(api.top("first", "-o pid,args")["Processes"]) >= 2])
    call("top-bad", api.top, "first", "-o nonsense")
    call("stats", api.stats, "first", stream=False)
    call("stats-one-shot", api.stats, "first", stream=False, one_shot=True)
    call("port", api.port, "first", 80)
    call("diff", lambda: sorted(api.diff("first"), key=lambda change: change["Path"]))
    call("update", api.update_container, "first", mem_limit="80m", cpu_shares=256)
    call("update-bad", api.update_container, "first", mem_limit="1m")
    call("inspect-updated", lambda: {key: api.inspect_container("first")["HostConfig"][key]
                                     for key in ["Memory", "MemorySwap", "CpuShares"]})
    call("rename", api.rename, "first", "renamed")
    call("rename-bad", api.rename, "renamed", "")
    call("rename-missing", api.rename, "nobody", "somebody")
    call("rename-back", api.rename, "renamed", "first")
    call("pause", api.pause, "first")
    call("pause-again", api.pause, "first")
    call("exec-in-paused", api.exec_create, "first", "true")
    call("unpause", api.unpause, "first")
    call("unpause-again", api.unpause, "first")
    call("resize-bad", api.resize, "first", 0, 0)
    call("remove-running", api.remove_container, "first")


def execs(api):
    made = call("exec-create", api.exec_create, "first", ["sh", "-c", "echo $A; echo wrong >&2; exit 4"],
                environment={"A": "given"}, workdir="/", user="root")
    call("exec-inspect-created", api.exec_inspect, made["Id"])
    call("exec-start-demux", api.exec_start, made["Id"], demux=True)
    call("exec-inspect-ended", api.exec_inspect, made["Id"])
    call("exec-start-again", api.exec_start, made["Id"])
    call("exec-missing-container", api.exec_create, "nobody", "true")
    call("exec-missing", api.exec_inspect, "f" * 64)
    call("exec-start-missing", api.exec_start, "f" * 64)
    call("exec-no-command", api.exec_create, "first", [])
    call("exec-bad-user", lambda: api.exec_start(api.exec_create("first", "true", user="nobody-here")["Id"]))
    call("exec-bad-program", lambda: api.exec_start(api.exec_create("first", "/nothing")["Id"]))
    typed = api.exec_create("first", "cat", stdin=True)

    def hijack():
        socket = api.exec_start(typed["Id"], socket=True)._sock
        socket.sendall(b"through\n")
        socket.shutdown(1)
        received = b""
        while chunk := socket.recv(4096):
            received += chunk
        return received

    call("exec-hijack", hijack)
    call("exec-tty", lambda: api.exec_start(api.exec_create("first", "tty", tty=True)["Id"], tty=True))
    detached = api.exec_create("first", "true")
    call("exec-detached", api.exec_start, detached["Id"], detach=True)


def archives(api):
    call("archive-put", api.put_archive, "first", "/data", archive_of("given", "text\n"))
    call("archive-put-nowhere", api.put_archive, "first", "/nowhere", archive_of("given", "text\n"))
    call("archive-put-bad", api.put_archive, "first", "/data", b"this is no archive" * 100)

    def get(path):
        chunks, stat = api.get_archive("first", path)
        return {"stat": stat, "entries": entries_of(chunks)}

    call("archive-get", get, "/data/given")
    call("archive-get-folder", get, "/data")
    call("archive-get-missing", get, "/data/missing")


def attach(api):
    made = call("attach-create", api.create_container, IMAGE, "cat", name="attached", stdin_open=True,
                host_config=api.create_host_config(network_mode="none"))
    socket = api.attach_socket(made["Id"], {"stdin": 1, "stdout": 1, "stream": 1})._sock
    api.start("attached")

    def talk():
        socket.sendall(b"to and fro\n")
        socket.shutdown(1)
        received = b""
        while chunk := socket.recv(4096):
            received += chunk
        return received

    call("attach-hijack", talk)
    call("wait-attached", api.wait, "attached")
    call("attach-logs", api.attach, "attached", logs=True, stream=False)
    call("remove-attached", api.remove_container, "attached")
    call("attach-missing", api.attach, "nobody")


def end(api):
    call("kill-bad-signal", api.kill, "first", "NONSENSE")
    call("kill-usr1", api.kill, "first", "SIGURG")
    call("stop", api.stop, "first", timeout=20)
    call("stop-again", api.stop, "first")
    call("kill-stopped", api.kill, "first")
    call("wait", api.wait, "first")
    call("wait-missing", api.wait, "nobody")
    call("inspect-exited", api.inspect_container, "first")
    call("containers-exited", api.containers, all=True, filters={"exited": 3})
    call("logs-ended", api.logs, "first", stderr=False)
    call("restart", api.restart, "first", timeout=20)
    call("commit", api.commit, "first", repository="local/committed", tag="1", message="why",
         author="who", changes=["ENV C=3", 'CMD ["sh"]'])
    call("commit-inspect", lambda: {key: api.inspect_image("local/committed:1").get(key, "absent")
                                    for key in ["Author", "Comment", "Config", "Architecture", "Parent"]})
    call("export", lambda: len(b"".join(api.export("first"))) > 0)
    call("remove-image-in-use", api.remove_image, "busybox:latest")
    call("remove-force", api.remove_container, "first", force=True, v=True)
    call("remove-missing", api.remove_container, "first")
    call("remove-committed", api.remove_image, "local/committed:1")


def failing(api):
    call("bad-command", lambda: api.start(api.create_container(IMAGE, "/nothing", name="bad")["Id"]))
    call("bad-command-state", lambda: api.inspect_container("bad")["State"])
    call("bad-workdir", lambda: api.start(
        api.create_container(IMAGE, "true", name="badder", working_dir="/bin/sh")["Id"]))
    for left in api.containers(all=True, filters={"name": "badder"}):
        api.remove_container(left["Id"])
    call("container-prune", api.prune_containers)
    call("container-prune-bad", api.prune_containers, {"nonsense": "x"})


def volumes(api):
    call("volume-create", api.create_volume, "kept", driver="local", labels={"a": "b"})
    call("volume-create-again", api.create_volume, "kept")
    call("volume-create-bad", api.create_volume, "../bad")
    call("volume-create-driver", api.create_volume, "other", driver="nonsense")
    call("volume-create-option", api.create_volume, "optioned", driver_opts={"nonsense": "x"})
    call("volume-inspect", api.inspect_volume, "kept")
    call("volume-inspect-missing", api.inspect_volume, "missing")
    call("volumes", lambda: sorted(one["Name"] for one in api.volumes()["Volumes"]))
    call("volumes-filtered", api.volumes, {"label": "a=b"})
    call("volumes-bad-filter", api.volumes, {"nonsense": "x"})
    user = api.create_container(IMAGE, "true", name="user", volumes=["/v"],
                                host_config=api.create_host_config(binds=["kept:/v"]))
    call("volume-remove-used", api.remove_volume, "kept")
    api.remove_container(user["Id"])
    call("volume-remove", api.remove_volume, "kept")
    call("volume-remove-missing", api.remove_volume, "missing")
    call("volume-remove-force", api.remove_volume, "missing", force=True)
    call("volume-prune", lambda: sorted(api.prune_volumes({"all": True})["VolumesDeleted"] or []))


def networks(api):
    pool = types.IPAMConfig(pool_configs=[types.IPAMPool(subnet="10.77.0.0/24", gateway="10.77.0.254")])
    made = call("network-create", api.create_network, "own", driver="bridge", ipam=pool, labels={"n": "1"},
                internal=True)
    call("network-create-again", api.create_network, "own")
    call("network-create-bad-driver", api.create_network, "other", driver="nonsense")
    call("network-create-overlap", api.create_network, "other", ipam=pool)
    call("network-inspect", api.inspect_network, "own")
    call("network-inspect-missing", api.inspect_network, "missing")
    call("networks", lambda: sorted((one["Name"], one["Driver"], one["Scope"]) for one in api.networks()))
    call("networks-filtered", api.networks, names=["own"])
    api.create_container(IMAGE, "sleep 100", name="member")
    call("network-connect", api.connect_container_to_network, "member", "own", ipv4_address="10.77.0.9",
         aliases=["alias"])
    call("network-connect-again", api.connect_container_to_network, "member", "own")
    call("network-connect-missing", api.connect_container_to_network, "nobody", "own")
    api.start("member")
    call("network-members", lambda: list(api.inspect_network("own")["Containers"].values()))
    call("network-settings", lambda: api.inspect_container("member")["NetworkSettings"]["Networks"]["own"])
    call("network-remove-used", api.remove_network, made["Id"])
    call("network-disconnect", api.disconnect_container_from_network, "member", "own")
    call("network-disconnect-again", api.disconnect_container_from_network, "member", "own")
    api.remove_container("member", force=True)
    call("network-remove", api.remove_network, "own")
    call("network-remove-missing", api.remove_network, "own")
    call("network-remove-default", api.remove_network, "bridge")
    call("network-prune", api.prune_networks)


def events(api):
    since = time.time()
    api.create_container(IMAGE, "true", name="seen", labels={"of": "events"})
    api.start("seen")
    api.wait("seen")
    time.sleep(0.5)
    api.rename("seen", "saw")
    api.remove_container("saw")
    until = time.time()

    def seen(**filters):
        found = api.events(since=since, until=until, decode=True, filters=filters or None)
        return [event for event in found if event["Type"] != "network"]

    call("events", seen)
    call("events-filtered", seen, type="container", event="die")
    call("events-label", lambda: [one["Action"] for one in seen(label="of=events")])
    call("events-bad-filter", seen, nonsense="x")


def rest(api):
    call("df-fields", lambda: sorted(api.df()))
    call("df-images", lambda: [sorted(one) for one in api.df()["Images"]])
    call("distribution-missing", api.inspect_distribution, "localhost:5000/nothing:1")
    call("auth-refused", api.login, "user", "wrong", registry="localhost:5000/x/y")
    call("plugins", api.plugins)
    call("swarm-inspect", api.inspect_swarm)
    call("nodes", api.nodes)
    call("unknown-path", lambda: api._result(api._get(api.base_url + "/nonsense"), True))


def models():
    client = docker.from_env()
    container = client.containers.run(IMAGE, "echo from the model", detach=True, name="modelled", network_mode="none")
    call("model-wait", container.wait)
    call("model-logs", container.logs)
    call("model-run", client.containers.run, IMAGE, "echo once", remove=True)
    call("model-run-failing", client.containers.run, IMAGE, ["sh", "-c", "echo no >&2; exit 5"], remove=True)
    call("model-exec-in-stopped", container.exec_run, "true")
    container.remove()
    call("model-get", client.containers.get, "modelled")


def main():
    api = docker.from_env(version="auto", timeout=60).api
    for part in [system, images, create, run, execs, archives, attach, end, failing, volumes,
                 networks, events, rest]:
        part(api)
    models()


main()
