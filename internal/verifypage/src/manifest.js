// manifest.json, and where the files of a bundle have their places (formats.md section 7).

const manifestFormat = 1;
const manifestPath = 'manifest.json';
const maxManifest = 64 << 20;
const maxManifestDepth = 10000; // what Go's reader takes
const maxSmall = 1 << 20;
const maxZIPEntries = 4096;
const minLeaf = 64;
const receiptPaths = ['receipt.leaf', 'receipt.tlog-proof', 'receipt.consistency'];
const periodKinds = ['audit', 'compliance', 'system'];

// OtherFormat says that a manifest has a format of another version.
class OtherFormat extends Error {}

const bad = (what) => {
  throw new Bad(what);
};

// parseManifest reads a manifest, strictly: only its one canonical form, each value in
// its bounds.
function parseManifest(bytes) {
  otherFormat(bytes);
  const s = textOf(bytes);
  let m = null;
  try {
    m = s === null ? null : JSON.parse(s);
  } catch {
    // Below.
  }
  // What is written again as the same text had no unknown or repeated member, no other
  // order and no white space.
  if (m === null || writeManifest(m) !== s) bad('manifest.json: not canonical, or with members that format 1 does not have');
  checkManifest(m);
  return m;
}

// otherFormat throws where the manifest is JSON of another format. Its format is the
// last member of that name, in any case of letters: other formats are not known to be
// as strict as ours.
function otherFormat(bytes) {
  const s = utf8Loose.decode(bytes);
  let m;
  try {
    m = JSON.parse(s);
  } catch {
    bad('manifest.json: no JSON');
  }
  if (m === null || typeof m !== 'object' || Array.isArray(m)) bad('manifest.json: no object');
  let format = '';
  for (const text of membersOf(s, 'format')) {
    if (text === 'null') continue;
    format = text[0] === '"' ? JSON.parse(text) : text;
    if (!/^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/.test(format)) bad('manifest.json: format is no number');
  }
  const number = /^-?[0-9]{1,19}$/.test(format) ? BigInt(format) : 1n;
  if (number !== BigInt(manifestFormat) && BigInt.asIntN(64, number) === number) {
    throw new OtherFormat(`manifest format ${number} is not known to this page, which reads format ${manifestFormat}`);
  }
}

// membersOf returns the texts of all members of a name in an object that is valid JSON.
// It looks for one mark after another: a pattern for a whole string could need more stack
// than there is.
function membersOf(s, name) {
  const found = [];
  const mark = /["{}[\],:]/g;
  let depth = 0;
  let key = null;
  let start = 0;
  for (let m = mark.exec(s); m !== null; m = mark.exec(s)) {
    const c = m[0];
    if (c === '"') {
      mark.lastIndex = afterString(s, mark.lastIndex);
      continue;
    }
    if (c === '{' || c === '[') depth++;
    if (depth > maxManifestDepth) bad('manifest.json: nested too deep');
    if (depth === 1 && c === ':') {
      key = JSON.parse(s.slice(start, m.index)).toLowerCase();
    } else if (depth === 1 && (c === ',' || c === '}')) {
      if (key === name) found.push(s.slice(start, m.index).trim());
      key = null;
    }
    if (depth === 1) start = mark.lastIndex;
    if (c === '}' || c === ']') depth--;
  }
  return found;
}

// afterString returns where a string of valid JSON ends that begins there.
function afterString(s, at) {
  const stop = /["\\]/g;
  stop.lastIndex = at;
  while (stop.exec(s)[0] === '\\') stop.lastIndex++;
  return stop.lastIndex;
}

// writeManifest returns the canonical text, or null where a value is of another type.
function writeManifest(m) {
  let ok = true;
  const str = (v) => (typeof v === 'string' ? quote(v) : void (ok = false));
  const int = (v) => (Number.isSafeInteger(v) ? String(v) : void (ok = false));
  const list = (v, f) => (Array.isArray(v) ? `[${v.map(f).join(',')}]` : void (ok = false));
  const object = (v, f) => (v !== null && typeof v === 'object' ? f(v) : void (ok = false));
  const scope = (s) => {
    const parts = ['from', 'kind', 'run_id', 'tenant_id', 'until']
      .filter((name) => name === 'tenant_id' || (s[name] !== undefined && s[name] !== ''))
      .map((name) => `"${name}":${str(s[name])}`);
    return `{${parts.join(',')}}`;
  };
  const file = (f) => object(f, (f) => `{"path":${str(f.path)},"sha256":${str(f.sha256)},"size":${int(f.size)}}`);
  const log = (l) => object(l, (l) => `{"dir":${str(l.dir)},"origin":${str(l.origin)},"size":${int(l.size)}}`);
  const text = object(m, (m) => `{"export_id":${str(m.export_id)},"files":${list(m.files, file)},"format":${int(m.format)},` +
    `"logs":${list(m.logs, log)},"profile":${str(m.profile)},"scope":${object(m.scope, scope)}}`);
  return ok ? text : null;
}

function checkManifest(m) {
  const s = m.scope;
  if (!nameForm.test(m.export_id)) bad('manifest.json: export_id is not a name');
  if (!tenantForm.test(s.tenant_id)) bad('manifest.json: tenant_id is not a tenant id');
  if (byteLength(s.run_id ?? '') > maxRun) bad('manifest.json: run_id is too long');
  if (s.kind !== undefined && !nameForm.test(s.kind)) bad('manifest.json: kind is not a name');
  const has = Object.keys(s).sort().join();
  if (m.profile === 'log' && has !== 'tenant_id') bad('manifest.json: profile log has no scope but the tenant');
  if (m.profile === 'run' && has !== 'run_id,tenant_id') bad('manifest.json: profile run has a run_id and no other scope');
  if (m.logs.length === 0) bad('manifest.json: no logs');
  for (const t of [s.from, s.until]) if (t !== undefined && !isTime(t)) bad('manifest.json: from or until is not a time');
  if (m.profile === 'period' && (has !== 'from,kind,tenant_id,until' || s.from >= s.until || !periodKinds.includes(s.kind))) {
    bad('manifest.json: profile period has a kind of system, audit or compliance, from, a later until, and no run_id');
  }
  const origins = new Set();
  m.logs.forEach((l, k) => {
    if (l.dir !== `logs/${k}`) bad(`manifest.json: directory of log ${k} is ${quote(l.dir)}`);
    if (!originForm.test(l.origin) || origins.has(l.origin)) bad(`manifest.json: origin of ${l.dir} is not an origin or stands twice`);
    if (l.size < 1) bad(`manifest.json: size of ${l.dir} is ${l.size}`);
    origins.add(l.origin);
  });
  m.files.forEach((f, i) => {
    if (i > 0 && byBytes(f.path, m.files[i - 1].path) <= 0) bad('manifest.json: files are not in order, or one stands twice');
    if (f.size < 0 || !/^[0-9a-f]{64}$/.test(f.sha256)) bad(`manifest.json: size or sha256 of ${quote(f.path)}`);
  });
}

// layout checks that the container holds exactly the manifest's files, each in a known
// place, and returns what each directory has.
function layout(files, m) {
  const listed = new Map(m.files.map((f) => [f.path, f]));
  for (const path of [...receiptPaths, manifestPath]) if (listed.has(path)) bad(`the manifest lists ${path}`);
  const order = [manifestPath, ...listed.keys(), ...receiptPaths.filter((p) => files.has(p))];
  const wanted = new Set(order);
  for (const name of files.keys()) if (!wanted.has(name)) bad(`${name} is not in the manifest`);
  for (const name of order) if (!files.has(name)) bad(`${name} is missing`);
  if (order.length > maxZIPEntries && m.profile !== 'log') bad(`${order.length} entries; at most ${maxZIPEntries}`);
  if ([...files.keys()].some((name, i) => name !== order[i])) {
    bad("the entries are not in their order: manifest.json, the manifest's files, the receipt");
  }
  const dirs = m.logs.map(() => ({entries: 0, anchors: [], stamps: [], consistency: [], records: false}));
  for (const f of m.files) {
    if (files.get(f.path).size !== f.size) bad(`${f.path} has ${files.get(f.path).size} bytes, not the manifest's ${f.size}`);
    const limit = topFiles.get(f.path) ?? locate(m, dirs, f);
    if (f.size > limit) bad(`${f.path} has ${f.size} bytes; at most ${limit}`);
  }
  dirs.forEach((d, k) => checkDir(m, k, d, listed));
  return dirs;
}

// topFiles are views and hints; they are digested and not read further.
const topFiles = new Map([
  ['README.txt', maxSmall], ['policy', maxPolicy], ['completeness.json', maxManifest],
  ['report.pdf', 2 ** 30], ['report.html', 2 ** 30],
]);

// locate puts a file of a log where it belongs and returns how big it may be.
function locate(m, dirs, f) {
  const unknown = `${f.path} has no place in a bundle`;
  const place = /^logs\/(0|[1-9][0-9]{0,8})\/(.*)$/s.exec(f.path);
  if (place === null || Number(place[1]) >= dirs.length) bad(unknown);
  const d = dirs[Number(place[1])];
  const {size} = m.logs[Number(place[1])];
  const rest = place[2];
  switch (rest) {
    case 'checkpoint':
      return maxNote;
    case 'disclosures.jsonl':
    case 'withheld.jsonl':
      return maxInt;
    case 'records.jsonl':
      if (m.profile === 'log') bad(unknown);
      d.records = true;
      return maxInt;
  }
  const entries = /^tile\/entries\/((?:x[0-9]{3}\/)*[0-9]{3})(?:\.p\/([0-9]+))?$/.exec(rest);
  if (entries !== null) {
    const n = Number(entries[1].replaceAll(/[x/]/g, ''));
    const width = Number(entries[2] ?? tileWidth);
    if (m.profile !== 'log' || n * tileWidth >= size || width !== entriesWidth(n, size) || entriesPath(n, width) !== rest) bad(unknown);
    if (f.size < width * minLeaf) bad(`${f.path} is too small for its leaves`);
    d.entries++;
    return width * (2 + maxLeaf);
  }
  const anchor = /^anchors\/([1-9][0-9]{0,15})\.(note|tsr)$/.exec(rest);
  if (anchor !== null && Number(anchor[1]) <= maxInt) {
    (anchor[2] === 'note' ? d.anchors : d.stamps).push(Number(anchor[1]));
    return anchor[2] === 'note' ? maxNote : maxSmall;
  }
  const link = /^consistency\/(0|[1-9][0-9]{0,15})-([1-9][0-9]{0,15})\.add-checkpoint$/.exec(rest);
  const [older, newer] = link === null ? [1, 0] : [Number(link[1]), Number(link[2])];
  if (older >= newer || older > size || newer > maxInt) bad(unknown);
  d.consistency.push({old: older, new: newer});
  return maxSmall;
}

// checkDir says whether a directory has what its profile needs.
function checkDir(m, k, d, listed) {
  const {dir, size} = m.logs[k];
  if (!listed.has(`${dir}/checkpoint`)) bad(`${dir}/checkpoint is missing`);
  const bundles = Math.ceil(size / tileWidth);
  if (m.profile === 'log' && d.entries !== bundles) {
    bad(`${dir} has ${d.entries} of the ${bundles} entry bundles of its ${size} leaves`);
  }
  if (m.profile !== 'log' && !d.records) bad(`${dir}/records.jsonl is missing`);
  d.anchors.sort((a, b) => a - b);
  d.stamps.sort((a, b) => a - b);
  d.consistency.sort((a, b) => a.old - b.old || a.new - b.new);
  for (const size of d.stamps) if (!d.anchors.includes(size)) bad(`${dir}/anchors/${size}.tsr has no note`);
}
