// The lines of disclosures.jsonl, withheld.jsonl and records.jsonl, and what erasures
// and expiries cover.

// Bounds in bytes. JSON text in a string can take six times its size (\u0001), and all
// sealed values of a record have a bound together.
const maxSealed = 64 << 20;
const maxDisclosureLine = 6 * maxSealed + 1024;
const maxWithheldLine = 1024;
const maxRecordLine = 6 * maxLeaf + maxProof * 48 + 256;
const maxTargets = 1 << 20;

const reasons = ['not_permitted', 'requested', 'erased', 'expired'];

function linePath(name) {
  const place = pathPlaces.get(name);
  if (place === undefined) throw new Bad(`no kind of record has the sealed path ${quote(name.slice(0, 100))}`);
  return place;
}

// parseDisclosure returns what checks need of a line: the commitment that its opening
// makes, and the text of /targets.
function parseDisclosure(line) {
  const r = new LineReader(line);
  r.lit('{"path":"');
  const name = r.plain();
  r.lit(',"salt":"');
  const salt = r.plain();
  r.lit(',"seq":');
  const seq = r.count();
  r.lit(',"value":"');
  const value = r.text();
  r.lit('}');
  r.end();
  const saltBytes = decode64(salt, 16, base64urlValues);
  if (saltBytes === null) throw new Bad('the salt is not strict base64url of 16 bytes');
  const path = linePath(name);
  checkJSON(value);
  const bytes = utf8.encode(value);
  const targets = name === '/targets' && bytes.length <= maxTargets ? value : null;
  return {seq, path, targets, commit: commitmentText(commit(name, saltBytes, bytes))};
}

function parseWithheld(line) {
  const r = new LineReader(line);
  r.lit('{"path":"');
  const name = r.plain();
  r.lit(',"reason":"');
  const reason = r.plain();
  r.lit(',"seq":');
  const seq = r.count();
  r.lit('}');
  r.end();
  const path = linePath(name);
  if (!reasons.includes(reason)) throw new Bad(`unknown reason ${quote(reason.slice(0, 100))}`);
  return {seq, path, reason};
}

// parseRecord reads a leaf with its proof; it checks neither.
function parseRecord(line) {
  const r = new LineReader(line);
  r.lit('{"leaf":"');
  const leaf = utf8.encode(r.text());
  r.lit(',"proof":[');
  const proof = [];
  while (line[r.at] === '"') {
    r.lit('"');
    const h = hashOf(r.plain());
    if (h === null || proof.length === maxProof) throw new Bad('not canonical');
    proof.push(h);
    if (!line.startsWith(',"', r.at)) break;
    r.lit(',');
  }
  r.lit('],"seq":');
  const seq = r.count();
  r.lit('}');
  r.end();
  return {seq, leaf, proof};
}

// Lines reads the lines of a file one by one.
class Lines {
  constructor(bytes, maxLine, parse) {
    Object.assign(this, {bytes, maxLine, parse, at: 0, line: 0, bad: ''});
  }

  // next returns what the next line says, null at the end or before a bad line.
  next() {
    if (this.at >= this.bytes.length || this.bad !== '') return null;
    this.line++;
    const end = this.bytes.indexOf(10, this.at);
    try {
      if (end < 0 || end + 1 - this.at > this.maxLine) throw new Bad('does not end, or is too long');
      const out = this.parse(asText(this.bytes.subarray(this.at, end), 'not canonical'));
      this.at = end + 1;
      return out;
    } catch (err) {
      if (!(err instanceof Bad)) throw err;
      this.bad = `line ${this.line}: ${err.message}`;
      return null;
    }
  }
}

// Openings gives the lines about sealed fields by ranges of leaves. They are in order of
// (seq, path), each at most once. After a bad line there are no more: bad says why, once
// all lines before it have been taken.
class Openings {
  constructor(bytes, maxLine, parse) {
    this.lines = new Lines(bytes ?? new Uint8Array(), maxLine, parse);
    this.last = {seq: 0, path: -1};
    this.bad = '';
    this.advance();
  }

  advance() {
    const o = this.lines.next();
    this.head = o;
    if (o === null) return;
    const {seq, path} = this.last;
    if (o.seq < seq || (o.seq === seq && o.path <= path)) {
      this.lines.bad = `the line for leaf ${o.seq}, ${sealedPaths[o.path]} is not in order of leaf and path, or stands twice`;
      this.head = null;
    }
    this.last = o;
  }

  // take returns the lines about leaves before to.
  take(to) {
    const out = [];
    while (this.head !== null && this.head.seq < to) {
      out.push(this.head);
      this.advance();
    }
    if (this.head === null) this.bad = this.lines.bad;
    return out;
  }
}

// coverReasons are the audit events whose records say that fields are gone.
const coverReasons = {ErasureExecuted: 'erased', RetentionApplied: 'expired'};

// about returns what leaves the targets of a record speak of: kind is '' for those of all
// kinds, and made says that it is synthetic ones alone. An erasure means the very leaves that
// it names. What expires leaves one table, which the record names as its entity: its ranges go
// over the leaves of other kinds that stand between, and say nothing of them; where the
// record's class is that of synthetic records, of others neither, and nothing of what was
// recorded from its valid_until on (before; '' says nothing). The records of the audit ledger
// never expire, but for synthetic ones.
function about(leaf, reason) {
  if (reason !== 'expired') return {kind: '', made: false, before: ''};
  const kind = tables.kinds.find((k) => k.table === textFact(leaf, 'entity_id'))?.name ?? '';
  const before = kind === '' ? '' : textFact(leaf, 'valid_until');
  return {kind, made: kind === 'audit' || textFact(leaf, 'rule_id') === 'synthetic', before};
}

// classes are those of retention, with the days of the defaults.
const classes = {llm_runs: 90, system_logs: 30, audit: 2557, log_exports: 365, synthetic: 7};
const classOf = {
  llm_run: 'llm_runs', trace: 'llm_runs', trace_step: 'llm_runs', trace_event: 'llm_runs',
  system: 'system_logs', metric: 'system_logs', audit: 'audit', export: 'log_exports',
};

// retentionOf returns what a leaf says of how long evidence is kept, or null: see the type
// RetentionRules of package verify.
function retentionOf(leaf) {
  const event = textFact(leaf, 'event_type');
  const f = {seq: leaf.seq, t: leaf.t, event, apart: false};
  if (leaf.kind === 'system' && event === 'LIFECYCLE_ACKNOWLEDGED') return f;
  if (leaf.kind !== 'audit') return null;
  const entity = textFact(leaf, 'entity_id');
  if (event === 'RetentionPolicyChanged' && textFact(leaf, 'entity_type') === 'RETENTION') {
    f.class = Object.hasOwn(classes, entity) ? entity : '';
  } else if (event === 'RetentionApplied') {
    const {kind, made, before} = about(leaf, 'expired');
    if (kind === '') { // what has /targets all the same would account for leaves of all kinds and times
      f.none = leaf.h.some((h) => h.path === '/targets');
      return f.none ? f : null;
    }
    f.class = made ? 'synthetic' : classOf[kind] ?? '';
    f.before = before;
  } else {
    return null;
  }
  const limit = textFact(leaf, 'limit_value');
  f.days = /^[0-9]{1,6}$/.test(limit) && Number(limit) > 0 ? Number(limit) : -1; // as the databases' guards read it
  return f.class === '' ? null : f;
}

// Retention judges whether what has expired was old enough, by the policy on record then.
// Where leaves are missing before, an acknowledgement does not say that no policy stands among them.
class Retention {
  constructor(missing, acknowledged = false, days = {}) {
    this.missing = missing;
    this.acknowledged = acknowledged;
    this.days = days;
  }

  copy() { return new Retention(this.missing, this.acknowledged, {...this.days}); }

  // next returns what is wrong with a RetentionApplied, or null.
  next(f) {
    if (f.event === 'LIFECYCLE_ACKNOWLEDGED') this.acknowledged = true;
    if (f.event === 'RetentionPolicyChanged') this.days[f.class] = f.days;
    if (f.event !== 'RetentionApplied') return null;
    if (f.none) {
      if (!this.acknowledged && Object.keys(this.days).length === 0) return null;
      return {message: 'says that something has expired, and is about no table of records: it accounts for nothing'};
    }
    const days = this.days[f.class] ?? (this.acknowledged && !this.missing ? classes[f.class] : undefined);
    if (days === undefined) return null;
    if (days < 0) {
      return {message: `says that records of the class ${f.class} have expired, while a policy of no number of days let none go`};
    }
    let latest = micros(f.t) - BigInt(days) * 86400000000n;
    if (latest < firstMicros) latest = firstMicros;
    if (f.before === '' || micros(f.before) > latest) {
      return {
        expected: `valid_until not after ${timeText(latest)}`, found: f.before || 'none',
        message: `says that records of the class ${f.class} have expired that were younger than the ${days} days of the policy of that time: evidence was removed too early`,
      };
    }
    if (f.days < 0) {
      return {expected: 'limit_value 1 or more', found: 'no number of days', message: `names no number of days of a policy of the class ${f.class}`};
    }
    return null;
  }
}

// parseTargets reads the /targets of the record at seq of a log. A record can only speak
// of leaves before it, or of an earlier log of its tenant: see uncovered.
function parseTargets(value, log, seq, reason) {
  if (value === null) throw new Bad('it is too long');
  checkJSON(value);
  const numbers = value.replaceAll(/"(?:[^"\\]|\\.)*"/gs, '""');
  if (/[0-9][.eE]/.test(numbers)) throw new Bad('a number is no integer');
  const known = (o, names, what) => {
    if (o === null) return {};
    if (typeof o !== 'object' || Array.isArray(o) || Object.keys(o).some((k) => !names.includes(k))) throw new Bad(`${what} is none`);
    return o;
  };
  const typed = (v, type, zero) => {
    if (v === null || v === undefined) return zero;
    if (type === 'list' ? !Array.isArray(v) : typeof v !== type) throw new Bad(`a value is no ${type}`);
    return v;
  };
  const t = known(JSON.parse(value), ['log', 'ranges'], 'the object');
  const of = typed(t.log, 'string', '');
  if (of !== '' && !originForm.test(of)) throw new Bad('log is not the origin of a log');
  const elsewhere = of !== '' && of !== log;
  const covers = [];
  for (const item of typed(t.ranges, 'list', [])) {
    const r = known(item, ['from', 'to', 'paths'], 'a range');
    const from = typed(r.from, 'number', 0);
    const to = typed(r.to, 'number', 0);
    const paths = typed(r.paths, 'list', []).map((p) => typed(p, 'string', ''));
    if (from < 0 || from >= to || to > maxInt) throw new Bad(`range ${from} to ${to}`);
    const cover = {log: elsewhere ? of : log, from, to: elsewhere ? to : Math.min(to, seq), path: -1, reason};
    if (paths.length === 0) covers.push(cover);
    for (const p of paths) covers.push({...cover, path: linePath(p)});
  }
  return covers;
}

// uncovered returns the claims about the log of directory k that no record covers.
// Claims are in order of seq, and so of t. Directories stand newest first, and a log is closed before the next one opens: a record
// that stands behind k is older than all of its leaves.
function uncovered(log, k, claims, covers) {
  const by = new Map();
  const key = (path, kind, made, reason) => `${path} ${kind} ${made} ${reason}`;
  for (const c of covers) {
    if (c.log !== log || c.by > k) continue;
    const to = c.before === '' ? c.to : Math.min(c.to, youngest(claims, c.before));
    if (c.from >= to) continue;
    const of = key(c.path, c.kind, c.made, c.reason);
    if (!by.has(of)) by.set(of, []);
    by.get(of).push({from: c.from, to});
  }
  // What covers the claims of one path, kind and reason, found when the first one comes.
  const covering = new Map();
  const coveringOf = ({path, kind, made, reason}) => {
    const of = key(path, kind, made, reason);
    if (!covering.has(of)) {
      const keys = [];
      for (const p of [path, -1]) {
        for (const k of [kind, '']) {
          keys.push(key(p, k, false, reason));
          if (made) keys.push(key(p, k, true, reason));
        }
      }
      covering.set(of, mergeRanges(keys.flatMap((k) => by.get(k) ?? [])));
    }
    return covering.get(of);
  };
  const inside = (list, seq) => {
    let lo = 0;
    let hi = list.length;
    while (lo < hi) { // the first range that ends after seq
      const mid = (lo + hi) >> 1;
      if (list[mid].to <= seq) lo = mid + 1;
      else hi = mid;
    }
    return lo < list.length && list[lo].from <= seq;
  };
  return claims.filter((c) => !inside(coveringOf(c), c.seq));
}

// youngest returns the seq of the first claim about a leaf of that time or later.
function youngest(claims, t) {
  let lo = 0;
  let hi = claims.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (claims[mid].t < t) lo = mid + 1;
    else hi = mid;
  }
  return lo < claims.length ? claims[lo].seq : Infinity;
}

// mergeRanges sorts ranges and joins those that touch.
function mergeRanges(list) {
  list.sort((a, b) => a.from - b.from);
  const out = [];
  for (const {from, to} of list) {
    const last = out[out.length - 1];
    if (last !== undefined && from <= last.to) last.to = Math.max(last.to, to);
    else out.push({from, to});
  }
  return out;
}
