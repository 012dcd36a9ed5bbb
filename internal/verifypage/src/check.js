// The checks of formats.md section 8, in their order: stopping at the first failure in
// 1 to 5, collecting findings after.

const maxFindings = 1000;
const logOpened = 'LOG_OPENED';
const logClosed = 'LOG_CLOSED';

// Findings is a list of what is wrong or could not be checked. The same finding about
// the next leaf becomes one. Beyond a bound they are only counted, but for the first of
// each code: many that weigh little must not keep out those that make the verdict.
class Findings {
  constructor() {
    this.list = [];
    this.dropped = 0;
    this.codes = new Set();
  }

  add(...findings) {
    for (const f of findings) {
      const last = this.list[this.list.length - 1];
      if (last !== undefined && f.to > 0 && last.to === f.from &&
        ['code', 'log', 'dir', 'path', 'expected', 'found', 'message'].every((k) => last[k] === f[k])) {
        last.to = f.to;
      } else if (this.list.length >= maxFindings && this.codes.has(f.code)) {
        this.dropped++;
      } else {
        this.codes.add(f.code);
        this.list.push({...f});
      }
    }
  }

  addAll(other) {
    this.add(...other.list);
    this.dropped += other.dropped;
  }

  has(letter) {
    return this.list.some((f) => f.code[0] === letter);
  }
}

function finding(code, l, message, more = {}) {
  return {code, log: l?.origin ?? '', dir: l?.dir ?? '', from: 0, to: 0, path: '', message, ...more};
}

const ofLeaf = (code, l, seq, message, more) => finding(code, l, message, {from: seq, to: seq + 1, ...more});

class Checker {
  constructor(bytes, trust, progress) {
    Object.assign(this, {bytes, trust, progress});
    this.findings = new Findings();
    this.counts = {};
    this.reports = [];
    this.covers = [];
    this.correlations = new Set(); // of the run's own records
    this.others = []; // audit entries of other runs
    this.run = null;
    this.period = null;
  }

  count(name, n = 1) {
    this.counts[name] = (this.counts[name] ?? 0) + n;
  }

  stopped() {
    return this.findings.has('E') || this.findings.has('U');
  }

  async check() {
    for (const step of ['container', 'digests', 'checkpoints', 'leaves']) {
      await this[step]();
      if (this.stopped()) return;
    }
    this.chain();
    this.expiredEarly();
    for (const l of this.logs) {
      if (l === null) continue;
      await this.quorum(l);
      this.times(l);
      this.links(l);
      this.accountFor(l);
      this.findings.addAll(l.held);
    }
    if (this.man.profile === 'run') this.runComplete();
    if (this.man.profile === 'period') this.periodComplete();
    this.predecessors();
    this.since();
    await this.receipt();
  }

  // container is check 1.
  container() {
    try {
      this.files = new Map(openZIP(this.bytes).map((e) => [e.name, e]));
      const raw = this.read(manifestPath, maxManifest);
      this.man = parseManifest(raw);
      this.manDigest = hex(sha256(raw));
      if (!['run', 'period', 'log'].includes(this.man.profile)) {
        this.findings.add(finding('U_PROFILE', null, 'a bundle of an unknown profile: this page cannot check it', {path: manifestPath}));
        return;
      }
      this.dirs = layout(this.files, this.man);
    } catch (err) {
      if (!(err instanceof Bad || err instanceof OtherFormat)) throw err;
      const code = err instanceof Bad ? 'E_CONTAINER' : 'U_FORMAT';
      this.findings.add(finding(code, null, err.message, err instanceof Bad ? {} : {path: manifestPath}));
      return;
    }
    this.reports = this.man.logs.map((l) => ({...l, records: 0, checked: false, closed: false, system: false, witnesses: []}));
  }

  // read returns the data of a file, CRC checked.
  read(path, limit) {
    const e = this.files.get(path);
    if (e === undefined) throw new Bad(`${path} is missing`);
    if (e.size > limit) throw new Bad(`${path} has ${e.size} bytes; at most ${limit}`);
    if (crc32(this.bytes, e.data, e.data + e.size, 0) !== e.crc) throw new Bad(`${path}: CRC-32 does not match`);
    return this.data(path);
  }

  // data is read for a file that was read before, or that need not be there.
  data(path) {
    const e = this.files.get(path);
    return e === undefined ? new Uint8Array() : this.bytes.subarray(e.data, e.data + e.size);
  }

  // digests is check 2: every file of the manifest has its SHA-256.
  async digests() {
    const total = this.man.files.reduce((n, f) => n + f.size, 0);
    let done = 0;
    for (const f of this.man.files) {
      const e = this.files.get(f.path);
      let crc = 0;
      for (let at = 0; at < e.size; at += 16 << 20) {
        crc = crc32(this.bytes, e.data + at, e.data + Math.min(e.size, at + (16 << 20)), crc);
        if (due()) await this.breathe('files', done + at, total);
      }
      if (crc !== e.crc) {
        this.findings.add(finding('E_CONTAINER', null, `${f.path}: CRC-32 does not match`, {path: f.path}));
        return;
      }
      const got = hex(await webSHA256(this.data(f.path)));
      if (got !== f.sha256) {
        this.findings.add(finding('E_FILE', null, 'the file is not the one that the manifest lists: its SHA-256 differs',
          {path: f.path, expected: f.sha256, found: got}));
        return;
      }
      done += f.size;
    }
  }

  async breathe(stage, done, total) {
    this.progress(stage, done, total);
    await giveWay();
  }

  // checkpoints is check 3: each checkpoint is strict, of the expected origin and signed
  // by the pinned key; those of anchors and consistency proofs too.
  async checkpoints() {
    this.logs = this.man.logs.map(() => null);
    for (let k = 0; k < this.man.logs.length; k++) {
      const report = this.reports[k];
      const key = this.trust.keys.get(report.origin);
      if (key === undefined && k === 0) {
        this.findings.add(finding('U_NO_KEY', report, "no key was given for this log, so nobody's signature can be checked; " +
          'ask its operator for the key, by another way than this bundle'));
        return;
      }
      if (key === undefined) {
        this.findings.add(finding('W_NO_KEY', report, 'no key was given for this log: its records were left out'));
        continue;
      }
      report.key = key.text;
      const l = {
        k, report, key, ...this.man.logs[k], files: this.dirs[k], sparse: this.man.profile !== 'log',
        anchors: [], proofs: [], marks: new Map(), predecessor: null, held: new Findings(), claims: [], own: [],
        stretch: {inside: 0, holes: []}, unshared: false,
        // What records say of how long evidence is kept, the seq after the last leaf, and whether
        // leaves are missing behind the last of these.
        retention: [], next: 0, apart: false,
      };
      let path = `${l.dir}/checkpoint`;
      try {
        l.note = this.read(path, maxNote);
        l.head = await this.signed(l, l.note);
        if (l.head.size !== l.size) throw new Bad('the checkpoint has another size than the manifest says');
        report.root = hex(l.head.root);
        for (const size of l.files.anchors) {
          path = `${l.dir}/anchors/${size}.note`;
          const v = await this.signed(l, this.read(path, maxNote));
          if (v.size !== size) throw new Bad(`the checkpoint is of ${v.size} leaves`);
          l.anchors.push(v);
          want(l, size);
        }
        for (const {old, new: newer} of l.files.consistency) {
          path = `${l.dir}/consistency/${old}-${newer}.add-checkpoint`;
          const p = parseConsistency(this.read(path, maxSmall));
          const head = await this.signed(l, p.note);
          if (head.size !== newer || p.number !== old) throw new Bad('the proof is of other trees than its name says');
          l.proofs.push({old, new: newer, path, hashes: p.hashes, head});
          want(l, old);
          want(l, newer);
        }
      } catch (err) {
        if (!(err instanceof Bad)) throw err;
        this.findings.add(finding('E_LOGSIG', l, err.message, {path}));
        return;
      }
      this.logs[k] = l;
    }
  }

  async signed(l, note) {
    const v = await verifyNote(note, l.key);
    if (v.origin !== l.origin) throw new Bad(`the checkpoint is of the log ${v.origin}`);
    return v;
  }

  // leaves runs checks 4 and 5, and gathers 9 and 10, over each log.
  async leaves() {
    const {kept, since} = this.trust;
    for (const l of this.logs) if (l !== null && since !== null && l.origin === since.origin) want(l, kept.size);
    for (let k = 0; k < this.logs.length; k++) {
      const l = this.logs[k];
      if (l === null) continue;
      await (l.sparse ? new RecordPass(this, l) : new LogPass(this, l)).all();
      if (this.findings.has('E')) return;
      l.report.checked = true;
      // Predecessors stand behind their successors.
      const pre = l.predecessor;
      for (const older of this.logs.slice(k + 1)) if (pre !== null && older?.origin === pre.origin) want(older, pre.size);
    }
    if (this.man.profile === 'run') this.strangers();
  }

  result() {
    const f = this.findings;
    const verdict = f.has('E') ? 'FAILED' : f.has('U') ? 'COULD-NOT-CHECK' : f.list.length > 0 ? 'VERIFIED-WITH-LIMITS' : 'VERIFIED';
    if (f.dropped > 0) this.counts.findings_not_listed = f.dropped;
    return {
      verdict, profile: this.man?.profile, scope: this.man?.scope, export_id: this.man?.export_id, manifest: this.manDigest,
      findings: f.list, logs: this.reports, run: this.run, period: this.period, counts: this.counts,
      not_proven: this.receiptChecked ? this.notProven() : [],
    };
  }

  notProven() {
    const list = [
      'that a producer told the truth: a record proves what was said and when it was recorded, not that it is so',
      'that events which were never sent do not exist',
    ];
    if (!this.trust.policy?.quorum) {
      list.push('that everybody is shown the same log: without a witness quorum its operator may keep another one for others');
    }
    const views = ['report.pdf', 'report.html', 'completeness.json'].filter((path) => this.files.has(path));
    if (views.length === 1) {
      list.push(`that ${views[0]} says what the records say: it is a view, made by who exported it`);
    } else if (views.length > 1) {
      list.push(`that ${views.join(', ')} say what the records say: they are views, made by who exported them`);
    }
    switch (this.man.profile) {
      case 'run':
        list.push('that no later record and no later revision of the run exists, in the log or elsewhere: a bundle of profile log proves that',
          'that the records beside those of the run itself, in the window around its turning point, of the accesses to it, or with its correlation id, are all that there are: a bundle of profile log proves that',
          'what other runs did in that window: their records are not in this bundle');
        break;
      case 'period':
        list.push('what happened before and after the period, and whether the runs seen in it have other records');
        if (this.reports.some((l) => l.system)) {
          list.push("that the records of the system's log are all that it shared in the period: only the tenant's own logs are without gaps");
        }
        break;
      default:
        for (const l of this.logs) {
          if (l?.predecessor) list.push(`that runs which began in the log ${l.predecessor.origin} went on in ${l.origin} without a gap`);
        }
    }
    return list;
  }
}

// want makes the pass over all leaves keep the root of the tree of that size.
function want(l, size) {
  if (!l.sparse && size <= l.size && !l.marks.has(size)) l.marks.set(size, emptyRoot);
}
