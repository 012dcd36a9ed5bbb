// Leaves, formats.md section 2: canonical, in profile, of the closed sets of fields.

const maxLeaf = 16384;
const maxText = 1024;
const maxRun = 128;

const originForm = /^(?=.{1,63}\/)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\/[0-9a-f]{12}$/;
const nameForm = /^[A-Za-z0-9 ._:\/@-]{1,128}$/;
const idForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const timeForm = /^([0-9]{4})-([0-9]{2})-([0-9]{2})T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z$/;
const monthDays = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

// Times stay texts: in their one form they compare as the times do.
function isTime(s) {
  const m = timeForm.exec(s);
  if (m === null) return false;
  const year = Number(m[1]);
  const month = Number(m[2]);
  const leap = month === 2 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 1 : 0;
  return year > 0 && month > 0 && month < 13 && m[3] !== '00' && Number(m[3]) <= monthDays[month] + leap;
}

// micros are microseconds since 1970-01-01, exactly: a BigInt.
const micros = (t) => BigInt(Date.parse(t.slice(0, 19) + 'Z')) * 1000n + BigInt(t.slice(20, 26));

function timeText(us) {
  const ms = us / 1000n - (us % 1000n < 0n ? 1n : 0n);
  return new Date(Number(ms)).toISOString().slice(0, 23) + String(us - ms * 1000n).padStart(3, '0') + 'Z';
}

const tenantForm = /^[a-z0-9-]{1,63}$/;

// plainText: 1 to limit bytes without control characters.
function plainText(s, limit) {
  if (s === '' || s.length > limit || /\p{Cc}/u.test(s)) return false;
  return byteLength(s) <= limit;
}

// valueForms are those of the public text types that a pattern can tell.
const valueForms = {
  integer: /^-?(?:0|[1-9][0-9]*)$/,
  decimal: /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$/,
  trace_id: /^[0-9a-f]{32}$/,
  span_id: /^[0-9a-f]{16}$/,
};

function fitsType(type, s) {
  switch (type) {
    case 'text':
      return plainText(s, maxText);
    case 'run':
      return plainText(s, maxRun);
    case 'integer':
    case 'decimal':
      return s.length <= 128 && valueForms[type].test(s);
    default:
      return valueForms[type].test(s);
  }
}

// kinds has, by name of the kind, its public fields in order, the same by name, and
// its sealed fields in order; sealedPaths are those of all kinds, sorted.
const kinds = new Map();
const sealedPaths = [];

for (const k of tables.kinds) {
  kinds.set(k.name, {...k, byName: new Map(k.public.map((f, index) => [f.name, {...f, index}]))});
  for (const f of k.sealed) if (!sealedPaths.includes(f.path)) sealedPaths.push(f.path);
}
sealedPaths.sort();

const pathPlaces = new Map(sealedPaths.map((p, i) => [p, i]));

const integerForm = /-?(?:0|[1-9][0-9]*)/y;
const quotedStop = /["\\\x00-\x1f]/g;

// LeafReader walks the only possible order of tokens of a leaf.
class LeafReader {
  constructor(s) {
    this.s = s;
    this.at = 0;
  }

  fail(what) {
    throw new Bad(`leaf, character ${this.at}: ${what}`);
  }

  try(text) {
    if (!this.s.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }

  lit(text) {
    if (!this.try(text)) this.fail(`expected ${text}`);
  }

  // word reads a string without escapes up to and with its closing quote.
  word() {
    const end = this.s.indexOf('"', this.at);
    if (end < 0) this.fail('unterminated string');
    const v = this.s.slice(this.at, end);
    this.at = end + 1;
    return v;
  }

  // string reads the rest of a string; \" and \\ are the only escapes of the profile.
  string() {
    let out = '';
    for (let start = this.at; ; start = this.at) {
      quotedStop.lastIndex = this.at;
      const m = quotedStop.exec(this.s);
      if (m === null) this.fail('unterminated string');
      out += this.s.slice(start, m.index);
      this.at = m.index + 1;
      if (m[0] === '"') return out;
      const c = this.s[this.at];
      if (m[0] !== '\\' || (c !== '"' && c !== '\\')) this.fail('control character, or an escape that canonical text does not have');
      out += c;
      this.at++;
    }
  }

  integer() {
    integerForm.lastIndex = this.at;
    const m = integerForm.exec(this.s);
    if (m === null || m[0] === '-0') this.fail('expected a canonical integer');
    const v = Number(m[0]);
    if (Math.abs(v) > maxInt) this.fail('integer beyond 2^53−1');
    this.at = integerForm.lastIndex;
    return v;
  }

  count() {
    const v = this.integer();
    if (v < 0) this.fail('negative');
    return v;
  }

  time() {
    const s = this.word();
    if (!isTime(s)) this.fail(`${quote(s)} is not a time in UTC with six decimals`);
    return s;
  }

  name(f) {
    this.lit('"');
    const s = this.word();
    if (!nameForm.test(s)) this.fail(`${f.name} is not a name`);
    return s;
  }

  leaf() {
    const l = {run: '', n: 0};
    this.lit('{"et":"');
    l.et = this.time();
    this.lit(',"h":{');
    l.h = this.commitments();
    this.lit(',"id":"');
    l.id = this.word();
    if (!idForm.test(l.id)) this.fail('id is not a lower-case UUID');
    this.lit(',"kind":"');
    l.kind = this.word();
    const kind = kinds.get(l.kind);
    if (kind === undefined) this.fail('unknown kind');
    this.lit(',"log":"');
    l.log = this.word();
    if (!originForm.test(l.log)) this.fail('log is not an origin');
    const hasRun = this.try(',"n":');
    if (hasRun) l.n = this.count();
    this.lit(',"pub":{');
    l.pub = this.facts(kind);
    if (hasRun) {
      this.lit(',"run":"');
      l.run = this.string();
      if (!plainText(l.run, maxRun)) this.fail('run is empty, too long, or has a control character');
    }
    this.lit(',"seq":');
    l.seq = this.count();
    this.lit(',"t":"');
    l.t = this.time();
    this.lit(',"v":1}');
    this.closedPaths(kind, l.h);
    if (this.at !== this.s.length) this.fail('bytes after the end');
    return l;
  }

  // commitments reads h up to its closing brace.
  commitments() {
    const list = [];
    while (!this.try('}')) {
      if (list.length > 0) this.lit(',');
      this.lit('"');
      const path = this.word();
      if (list.length > 0 && path <= list[list.length - 1].path) this.fail('sealed paths are not in order');
      this.lit(':"');
      const hash = this.word();
      if (!commitmentForm.test(hash)) this.fail(`commitment of ${path} is not strict base64url of 32 bytes`);
      list.push({path, hash});
    }
    return list;
  }

  // closedPaths: the kind has each path, and the leaf each required one.
  closedPaths(kind, h) {
    let i = 0;
    for (const f of kind.sealed) {
      if (i < h.length && h[i].path === f.path) i++;
      else if (f.required) this.fail(`no commitment at ${f.path}`);
    }
    if (i < h.length) this.fail(`unknown sealed path ${quote(h[i].path)}`);
  }

  // facts reads pub up to its closing brace. The leaf's fields are some of the kind's,
  // in their order, and none that is passed over may be required.
  facts(kind) {
    const pub = Object.create(null);
    let name = this.key('"');
    for (const f of kind.public) {
      if (f.name === name) {
        pub[name] = this.fact(f);
        name = this.key(',"');
      } else if (!f.optional) {
        this.fail(`public field ${f.name} is missing, or another is unknown or out of order`);
      }
    }
    if (name !== '') this.fail(`public field ${quote(name)} is unknown, out of order or twice`);
    return pub;
  }

  // key reads the name of the next field with its colon, or the brace after the last.
  key(before) {
    if (!this.try(before)) {
      this.lit('}');
      return '';
    }
    const name = this.word();
    if (name === '') this.fail('expected a field name');
    this.lit(':');
    return name;
  }

  fact(f) {
    switch (f.type) {
      case 'int':
        return this.integer();
      case 'count':
        return this.count();
      case 'bool':
        if (this.try('true')) return true;
        this.lit('false');
        return false;
      case 'time':
        this.lit('"');
        return this.time();
      case 'names':
        return this.names(f);
      case 'name':
        return this.name(f);
      case 'enum': {
        this.lit('"');
        const v = this.word();
        if (!f.enum.includes(v)) this.fail(`${f.name} must be one of ${f.enum.join(', ')}`);
        return v;
      }
      default: {
        this.lit('"');
        const v = this.string();
        if (!fitsType(f.type, v)) this.fail(`${f.name} is not of its type`);
        return v;
      }
    }
  }

  names(f) {
    const list = [];
    this.lit('[');
    while (!this.try(']')) {
      if (list.length > 0) this.lit(',');
      list.push(this.name(f));
    }
    return list;
  }
}

// parseLeaf reads one leaf and throws Bad where the bytes are none.
function parseLeaf(bytes) {
  if (bytes.length > maxLeaf) throw new Bad('leaf: over 16 KiB');
  const s = textOf(bytes);
  if (s === null) throw new Bad('leaf: not UTF-8');
  return new LeafReader(s).leaf();
}

const textFact = (leaf, name) => leaf.pub[name] ?? '';

// serverOnly: facts of the server's own, which nobody can send from outside.
function serverOnly(kind, event) {
  const begins = (...prefixes) => prefixes.some((p) => event.startsWith(p));
  switch (kind) {
    case 'export':
      return true;
    case 'system':
      return ['CHECKPOINT_ANCHORED', 'INTEGRITY_ANOMALY', 'PRODUCER_SILENT'].includes(event) || begins('LOG_', 'LIFECYCLE_');
    case 'audit':
      return [
        'LOGIN', 'LOGOUT', 'LOGIN_FAILED', 'API_KEY_CREATED', 'API_KEY_REVOKED', 'API_KEY_USED_FIRST',
        'ACCESS_DECISION', 'RBACChanged', 'ConflictRecorded',
      ].includes(event) || begins('LOG_', 'Retention', 'Erasure', 'LegalHold');
    default:
      return false;
  }
}
