// Calls of dockerode; prints a line for each, its name and the answer.
'use strict';

const { PassThrough } = require('stream');
const Docker = require('dockerode');

const IMAGE = 'busybox:latest';
const REGISTRY = 'localhost:5000';
const TAR_BLOCK = 512;

const docker = new Docker();

/** Orders the keys, so that the answers of two engines can be read side by side. */
function ordered(value) {
  if (Buffer.isBuffer(value)) return value.toString();
  if (Array.isArray(value)) return value.map(ordered);
  if (value === null || typeof value !== 'object') return value;
  if (value.Mounts) {
    // dockerd has them in no order.
    const place = (mount) => mount.Destination || mount.Target;
    value.Mounts.sort((one, other) => (place(one) < place(other) ? -1 : 1));
  }
  const keys = Object.keys(value).sort();
  return Object.fromEntries(keys.map((key) => [key, ordered(value[key])]));
}

/** Makes the call, prints what came of it and returns that. */
async function call(name, make) {
  let answer;
  let shown;
  try {
    answer = await make();
    // Handles of dockerode have the client in them.
    shown = answer && answer.modem ? { id: answer.id || answer.name } : answer;
  } catch (error) {
    if (error.statusCode === undefined) throw error;
    shown = { error: { status: error.statusCode, message: (error.json || {}).message } };
  }
  console.log(`${name} ${JSON.stringify(ordered(shown === undefined ? null : shown))}`);
  return answer;
}

function collected(stream) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    stream.on('data', (chunk) => chunks.push(chunk));
    stream.on('end', () => resolve(Buffer.concat(chunks)));
    stream.on('error', reject);
  });
}

/** Both streams of output, apart. */
async function demuxed(stream) {
  const [out, err] = [new PassThrough(), new PassThrough()];
  docker.modem.demuxStream(stream, out, err);
  stream.on('end', () => {
    out.end();
    err.end();
  });
  const [stdout, stderr] = await Promise.all([collected(out), collected(err)]);
  return { stdout, stderr };
}

function progress(stream) {
  return new Promise((resolve, reject) => {
    docker.modem.followProgress(stream, (error, lines) => (error ? reject(error) : resolve(lines)));
  });
}

async function lines(stream) {
  const text = (await collected(stream)).toString();
  return text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
}

/** An archive of one file. */
function archiveOf(name, text) {
  const header = Buffer.alloc(TAR_BLOCK);
  const octal = (number, length) => number.toString(8).padStart(length - 1, '0');
  header.write(name, 0);
  header.write(octal(0o644, 8), 100);
  header.write(octal(7, 8), 108);
  header.write(octal(8, 8), 116);
  header.write(octal(text.length, 12), 124);
  header.write(octal(1, 12), 136);
  header.write('        ', 148);
  header.write('0', 156);
  header.write('ustar\u000000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${octal(sum, 7)}\u0000 `, 148);
  const content = Buffer.alloc(TAR_BLOCK);
  content.write(text);
  return Buffer.concat([header, content, Buffer.alloc(2 * TAR_BLOCK)]);
}

/** Names, sizes and owners of what is in an archive. */
function entriesOf(archive) {
  const entries = [];
  for (let at = 0; at + TAR_BLOCK <= archive.length && archive[at] !== 0; ) {
    const text = (from, length) =>
      archive.subarray(at + from, at + from + length).toString().split('\u0000')[0].trim();
    const size = parseInt(text(124, 12), 8);
    entries.push([text(0, 100), text(100, 8), text(108, 8), text(116, 8), size, text(156, 1)]);
    at += TAR_BLOCK + Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
  }
  return entries;
}

async function until(found) {
  const end = Date.now() + 20000;
  while (!(await found())) {
    if (Date.now() > end) throw new Error('the condition did not come');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function system() {
  await call('ping', () => docker.ping());
  await call('version-fields', async () => Object.keys(await docker.version()));
  await call('info-security', async () => (await docker.info()).SecurityOptions);
  await call('old-version', async () => {
    const old = new Docker({ version: 'v1.23' });
    return old.listContainers();
  });
  await call('new-version', async () => {
    const later = new Docker({ version: 'v1.99' });
    return later.listContainers();
  });
}

async function images() {
  await call('pull', async () => {
    const told = await progress(await docker.pull(IMAGE));
    const steps = told.filter((line) => !line.progressDetail || !line.progressDetail.total);
    // Said only when there was something to wait for.
    return steps.map((line) => line.status).filter((status) => status !== 'Verifying Checksum');
  });
  await call('pull-missing', async () => progress(await docker.pull(`${REGISTRY}/nothing:1`)));
  await call('pull-bad-name', async () => progress(await docker.pull('Bad//Name')));
  await call('image-inspect', () => docker.getImage(IMAGE).inspect());
  await call('image-history', async () => {
    const history = await docker.getImage(IMAGE).history();
    return history.map((layer) => Object.keys(layer));
  });
  await call('images', () => docker.listImages({ filters: { reference: ['busybox'] } }));
  await call('images-digests', () => docker.listImages({ digests: true }));
  await call('image-tag', () => docker.getImage(IMAGE).tag({ repo: `${REGISTRY}/pushed`, tag: 'two' }));
  await call('image-push', async () => {
    const told = await progress(await docker.getImage(`${REGISTRY}/pushed:two`).push({ authconfig: {} }));
    return told.filter((line) => !line.progressDetail || !line.progressDetail.total);
  });
  await call('image-distribution', () => docker.getImage(`${REGISTRY}/pushed:two`).distribution());
  await call('image-push-missing', async () =>
    progress(await docker.getImage(`${REGISTRY}/missing:two`).push({ authconfig: {} })));
  await call('image-remove-tag', () => docker.getImage(`${REGISTRY}/pushed:two`).remove());
  await call('image-save', async () => {
    const archive = await collected(await docker.getImage(IMAGE).get());
    const wanted = ['index.json', 'manifest.json', 'oci-layout', 'repositories'];
    return entriesOf(archive).map(([name]) => name).filter((name) => wanted.includes(name));
  });
  await call('image-import', async () =>
    lines(await docker.importImage(archiveOf('etc/name', 'x'), { repo: 'local/made', tag: '1' })));
  await call('image-load-bad', async () => lines(await docker.loadImage(Buffer.from('no archive'))));
  await call('image-remove', () => docker.getImage('local/made:1').remove());
  await call('images-prune', () => docker.pruneImages({ filters: { dangling: ['true'] } }));
}

const MAIN = {
  name: 'main',
  Image: IMAGE,
  Cmd: ['sh', '-c', 'read line; echo "got $line"; exec sleep 1000'],
  OpenStdin: true,
  Tty: true,
  Env: ['ONE=1', 'EMPTY=', 'GONE'],
  ExposedPorts: { '53/udp': {}, '80/tcp': {} },
  Labels: { kind: 'main' },
  StopTimeout: 1,
  HostConfig: {
    AutoRemove: false,
    CpusetCpus: '0',
    NanoCpus: 500000000,
    Devices: [{ PathOnHost: '/dev/null', PathInContainer: '/dev/nothing', CgroupPermissions: 'rw' }],
    GroupAdd: ['33'],
    IpcMode: 'private',
    LogConfig: { Type: 'local', Config: { 'max-file': '2' } },
    Mounts: [
      { Type: 'volume', Source: 'mounted', Target: '/mounted', VolumeOptions: { Labels: { m: '1' } } },
      { Type: 'tmpfs', Target: '/memory', TmpfsOptions: { SizeBytes: 1048576, Mode: 0o700 } },
    ],
    OomScoreAdj: 100,
    PortBindings: { '53/udp': [{ HostPort: '' }], '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '18081' }] },
    ReadonlyRootfs: true,
    UTSMode: '',
  },
};

async function refused() {
  const bad = {
    'create-no-body': {},
    'create-bad-label': { Image: IMAGE, Labels: ['no', 'map'] },
    'create-bad-network': { Image: IMAGE, HostConfig: { NetworkMode: 'container:' } },
    'create-bad-restart': { Image: IMAGE, HostConfig: { RestartPolicy: { Name: 'sometimes' } } },
    'create-restart-remove': {
      Image: IMAGE,
      HostConfig: { AutoRemove: true, RestartPolicy: { Name: 'always' } },
    },
    'create-bad-mount': { Image: IMAGE, HostConfig: { Mounts: [{ Type: 'nonsense', Target: '/x' }] } },
    'create-bad-target': { Image: IMAGE, HostConfig: { Mounts: [{ Type: 'volume', Target: 'x' }] } },
    'create-missing-bind': {
      Image: IMAGE,
      HostConfig: { Mounts: [{ Type: 'bind', Source: '/no/such/folder', Target: '/x' }] },
    },
    'create-bad-log': { Image: IMAGE, HostConfig: { LogConfig: { Type: 'nonsense' } } },
    'create-bad-log-option': {
      Image: IMAGE,
      HostConfig: { LogConfig: { Type: 'json-file', Config: { nonsense: '1' } } },
    },
    'create-bad-capability': { Image: IMAGE, HostConfig: { CapAdd: ['NONSENSE'] } },
    'create-bad-signal': { Image: IMAGE, StopSignal: 'NONSENSE' },
    'create-bad-health': { Image: IMAGE, Healthcheck: { Test: ['CMD', 'true'], Interval: 5 } },
    'create-bad-hostname': { Image: IMAGE, Hostname: 'x'.repeat(70) },
    'create-bad-workdir': { Image: IMAGE, WorkingDir: 'relative' },
    'create-bad-env': { Image: IMAGE, Env: ['=value'] },
    'create-bad-cpus': { Image: IMAGE, HostConfig: { NanoCpus: 1, CpuQuota: 1 } },
    'create-bad-swappiness': { Image: IMAGE, HostConfig: { MemorySwappiness: 500 } },
    'create-bad-shm': { Image: IMAGE, HostConfig: { ShmSize: -1 } },
    'create-bad-ipc': { Image: IMAGE, HostConfig: { IpcMode: 'nonsense' } },
    'create-bad-pid': { Image: IMAGE, HostConfig: { PidMode: 'nonsense' } },
    'create-bad-runtime': { Image: IMAGE, HostConfig: { Runtime: 'nonsense' } },
    'create-bad-isolation': { Image: IMAGE, HostConfig: { Isolation: 'nonsense' } },
    'create-bad-platform': { Image: IMAGE, platform: 'linux/arm64' },
  };
  for (const [name, options] of Object.entries(bad)) {
    const made = await call(name, () => docker.createContainer(options));
    if (made) await made.remove();
  }
}

async function main() {
  const container = await call('create', () => docker.createContainer(MAIN));
  await call('inspect-created', () => container.inspect());
  const stream = await call('attach', async () => {
    const options = { stream: true, hijack: true, stdin: true, stdout: true, stderr: true };
    const made = await container.attach(options);
    return Object.assign(made, { toJSON: () => 'attached' });
  });
  const output = [];
  stream.on('data', (chunk) => output.push(chunk));
  await call('start', () => container.start());
  await call('start-again', () => container.start());
  await call('resize', () => container.resize({ h: 30, w: 90 }));
  await call('talk', async () => {
    stream.write('words\n');
    await until(() => Buffer.concat(output).toString().includes('got words'));
    return Buffer.concat(output);
  });
  stream.destroy();
  await call('inspect-running', () => container.inspect());
  await call('list', () => docker.listContainers({ filters: { name: ['main'] } }));
  await call('list-limit', async () => (await docker.listContainers({ limit: 1 })).length);
  await call('list-bad-limit', () => docker.listContainers({ limit: 'x' }));
  await call('list-size', async () => Object.keys((await docker.listContainers({ size: true }))[0]).sort());
  await call('logs', () => container.logs({ stdout: true, stderr: true }));
  await call('stats-fields', async () => Object.keys(await container.stats({ stream: false })));
  await call('top', async () => (await container.top()).Titles);
  await call('changes', async () =>
    (await container.changes()).sort((one, other) => (one.Path < other.Path ? -1 : 1)));
  await call('update', () => container.update({ NanoCpus: 250000000, RestartPolicy: { Name: 'always' } }));
  await call('update-inspect', async () => {
    const { NanoCpus, RestartPolicy } = (await container.inspect()).HostConfig;
    return { NanoCpus, RestartPolicy };
  });
  await call('update-bad', () => container.update({ RestartPolicy: { Name: 'sometimes' } }));
  await call('rename-taken', () => container.rename({ name: 'main' }));
  await execs(container);
  await archives(container);
  await call('pause', () => container.pause());
  await call('stop-paused', () => container.stop({ t: 1 }));
  await call('state-stopped', async () => {
    const { State, RestartCount } = await container.inspect();
    return { State, RestartCount };
  });
  await call('pause-stopped', () => container.pause());
  await call('exec-stopped', () => container.exec({ Cmd: ['true'] }));
  await call('resize-stopped', () => container.resize({ h: 30, w: 90 }));
  await call('top-stopped', () => container.top());
  await call('stats-stopped', () => container.stats({ stream: false }));
  await call('remove', () => container.remove({ v: true }));
  await call('inspect-removed', () => container.inspect());
  await call('remove-bad-link', () => docker.getContainer('main').remove({ link: true }));
}

async function execs(container) {
  const exec = await call('exec', () =>
    container.exec({ Cmd: ['sh', '-c', 'cat; echo to err >&2; exit 7'], AttachStdin: true, AttachStdout: true, AttachStderr: true }));
  await call('exec-hijack', async () => {
    const stream = await exec.start({ hijack: true, stdin: true });
    stream.end('to cat\n');
    return demuxed(stream);
  });
  await call('exec-inspect', () => exec.inspect());
  await call('exec-resize-ended', () => exec.resize({ h: 10, w: 10 }));
  await call('exec-tty', async () => {
    const made = await container.exec({ Cmd: ['sh', '-c', 'sleep 0.5; stty size; echo $TERM'], Tty: true, AttachStdout: true, ConsoleSize: [33, 44] });
    const stream = await made.start({ hijack: true, Tty: true, ConsoleSize: [33, 44] });
    return collected(stream);
  });
  await call('exec-bad-workdir', async () => {
    const made = await container.exec({ Cmd: ['true'], WorkingDir: 'relative', AttachStdout: true });
    return collected(await made.start({}));
  });
  await call('exec-missing-workdir', async () => {
    const made = await container.exec({ Cmd: ['true'], WorkingDir: '/no/such', AttachStdout: true });
    return collected(await made.start({}));
  });
  await call('exec-bad-keys', () => container.exec({ Cmd: ['true'], DetachKeys: 'nonsense' }));
  await call('exec-bad-body', () => container.exec({ Cmd: 'true' }));
}

async function archives(container) {
  await call('archive-put', () => container.putArchive(archiveOf('put', 'text'), { path: '/mounted' }));
  await call('archive-put-read-only', () => container.putArchive(archiveOf('put', 'text'), { path: '/etc' }));
  await call('archive-get', async () => entriesOf(await collected(await container.getArchive({ path: '/mounted/put' }))));
  await call('archive-get-slash', async () => entriesOf(await collected(await container.getArchive({ path: '/mounted/.' }))));
  await call('archive-stat', async () => {
    const { headers } = await container.infoArchive({ path: '/bin/sh' });
    return JSON.parse(Buffer.from(headers['x-docker-container-path-stat'], 'base64').toString());
  });
  await call('archive-no-path', () => container.getArchive({ path: '' }));
}

async function endings() {
  const short = { name: 'short', Image: IMAGE, Cmd: ['sh', '-c', 'for n in 1 2 3; do echo $n; done; sleep 1; exit 9'] };
  const made = await docker.createContainer(short);
  const next = made.wait({ condition: 'next-exit' });
  await made.start();
  await call('follow', async () => demuxed(await made.logs({ follow: true, stdout: true, stderr: true })));
  await call('wait-next', () => next);
  await call('wait-ended', () => made.wait());
  await call('wait-bad', () => made.wait({ condition: 'nonsense' }));
  await call('tail', async () => (await made.logs({ stdout: true, tail: 1 })).subarray(8).toString());
  await call('tail-bad', () => made.logs({ stdout: true, tail: 'nonsense' }));
  await call('since-bad', () => made.logs({ stdout: true, since: 'nonsense' }));
  await call('remove-force', () => made.remove({ force: true }));
  const vanishing = await docker.createContainer({ Image: IMAGE, Cmd: ['sleep', '1'], HostConfig: { AutoRemove: true } });
  const removed = vanishing.wait({ condition: 'removed' });
  await vanishing.start();
  await call('wait-removed', () => removed);
  await call('auto-removed', () => vanishing.inspect());
}

async function health() {
  const made = await docker.createContainer({
    name: 'checked', Image: IMAGE, Cmd: ['sleep', '1000'],
    Healthcheck: { Test: ['CMD-SHELL', 'echo fine'], Interval: 500000000, Timeout: 2000000000, Retries: 2 },
  });
  await made.start();
  await until(async () => (await made.inspect()).State.Health.Status === 'healthy');
  await call('health', async () => {
    const { Health } = (await made.inspect()).State;
    return { Status: Health.Status, FailingStreak: Health.FailingStreak, First: Health.Log[0] };
  });
  await call('health-list', async () => (await docker.listContainers({ filters: { health: ['healthy'] } })).length);
  await call('kill', () => made.kill({ signal: 'SIGKILL' }));
  await call('wait-killed', () => made.wait());
  await call('state-killed', async () => {
    const { State } = await made.inspect();
    return { ...State, Health: State.Health.Status };
  });
  await call('prune', () => docker.pruneContainers({ filters: { label: ['nothing'] } }));
  await made.remove();
}

async function volumes() {
  const volume = await call('volume-create', () =>
    docker.createVolume({ Name: 'sized', DriverOpts: { type: 'tmpfs', device: 'tmpfs', o: 'size=1m' }, Labels: { v: '1' } }));
  await call('volume-inspect', () => volume.inspect());
  await call('volumes', async () => {
    const { Volumes, Warnings } = await docker.listVolumes({ filters: { name: ['sized'] } });
    return { Volumes, Warnings };
  });
  await call('volumes-dangling', async () =>
    (await docker.listVolumes({ filters: { dangling: ['true'] } })).Volumes.map((one) => one.Name).sort());
  await call('volume-create-other', () => docker.createVolume({ Name: 'sized', DriverOpts: { type: 'tmpfs', device: 'tmpfs', o: 'size=2m' } }));
  await call('volume-remove', () => volume.remove());
  await call('volumes-prune', () => docker.pruneVolumes({ filters: { label: ['v=1'] } }));
  await call('volume-remove-mounted', () => docker.getVolume('mounted').remove());
}

async function networks() {
  const network = await call('network-create', () =>
    docker.createNetwork({ Name: 'named', IPAM: { Config: [{ Subnet: '10.66.0.0/24' }] }, Labels: { n: '1' } }));
  await call('network-inspect', () => network.inspect());
  await call('networks', () => docker.listNetworks({ filters: { label: ['n=1'] } }));
  const first = await docker.createContainer({
    name: 'server', Image: IMAGE, Cmd: ['httpd', '-f', '-p', '80', '-h', '/www'],
    HostConfig: { NetworkMode: 'named' },
    NetworkingConfig: { EndpointsConfig: { named: { Aliases: ['web'], IPAMConfig: { IPv4Address: '10.66.0.7' } } } },
  });
  await first.start();
  const client = { Image: IMAGE, Cmd: ['wget', '-q', '-O', '-', 'http://web/'], HostConfig: { NetworkMode: 'named' } };
  await call('network-names', async () => {
    const out = new PassThrough();
    const text = collected(out);
    const [ended, made] = await docker.run(IMAGE, client.Cmd, [out, new PassThrough()], { HostConfig: client.HostConfig, Tty: false });
    out.end();
    await made.remove();
    return { ended, text: await text };
  });
  await call('network-endpoint', async () => (await first.inspect()).NetworkSettings);
  await call('network-connect-missing', () => docker.getNetwork('missing').connect({ Container: 'server' }));
  await call('network-disconnect-force', () => network.disconnect({ Container: 'server', Force: true }));
  await first.remove({ force: true });
  await call('network-remove', () => network.remove());
  await call('networks-prune', () => docker.pruneNetworks());
}

async function events() {
  const since = Date.now() / 1000;
  const made = await docker.createContainer({ name: 'eventful', Image: IMAGE, Cmd: ['sleep', '1000'], Labels: { e: '1' } });
  await made.start();
  await made.pause();
  await made.unpause();
  await made.update({ Memory: 67108864, MemorySwap: 134217728 });
  await collected(await (await made.exec({ Cmd: ['true'], AttachStdout: true })).start({}));
  await made.kill();
  await made.wait();
  await made.remove();
  await docker.createVolume({ Name: 'eventful' });
  await docker.getVolume('eventful').remove();
  await docker.getImage(IMAGE).tag({ repo: 'local/eventful', tag: '1' });
  await docker.getImage('local/eventful:1').remove();
  // A moment of whole milliseconds would be before the last event.
  await new Promise((resolve) => setTimeout(resolve, 50));
  const range = { since, until: Date.now() / 1000 };
  const seen = async (filters) => lines(await docker.getEvents({ ...range, filters }));
  await call('events-container', async () => {
    const events = await seen({ type: ['container'] });
    // Which of the two comes first is chance.
    const of = (action) => events.filter((event) => event.Action === action);
    const others = events.filter(({ Action }) => Action !== 'kill' && Action !== 'die');
    return [...others, ...of('kill'), ...of('die')];
  });
  await call('events-volume', () => seen({ type: ['volume'] }));
  await call('events-image', () => seen({ type: ['image'] }));
  await call('events-action', async () => (await seen({ event: ['exec_start', 'kill'] })).map((event) => event.Action));
  await call('events-bad-since', () => docker.getEvents({ since: 'nonsense', until: range.until }));
}

async function rest() {
  await call('df', async () => {
    const { Images, Containers, Volumes, BuildCache } = await docker.df({ type: 'volume' });
    return { Images, Containers, Volumes, BuildCache };
  });
  await call('df-bad', () => docker.df({ type: 'nonsense' }));
  await call('auth', () => docker.checkAuth({ username: 'u', password: 'p', serveraddress: `http://${REGISTRY}` }));
  await call('services', () => docker.listServices());
  await call('secrets', () => docker.listSecrets());
  await call('plugin-missing', () => docker.getPlugin('nothing').inspect());
  await call('commit-missing', () => docker.getContainer('nobody').commit({ repo: 'x' }));
  await call('export-missing', () => docker.getContainer('nobody').export());
}

async function all() {
  for (const part of [system, images, refused, main, endings, health, volumes, networks, events, rest]) {
    await part();
  }
}

all().catch((error) => {
  console.error(error);
  process.exit(1);
});
