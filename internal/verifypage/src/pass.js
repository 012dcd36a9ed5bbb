// Checks 4, 5 and 10 over the leaves of a log, and what 9 needs of them.

const passMethods = {
  // placed returns what is wrong with a leaf at its place, or ''.
  placed(leaf, seq) {
    const {l} = this;
    if (leaf.log !== l.origin) return `the leaf is of the log ${leaf.log}`;
    if (leaf.seq !== seq) return `the leaf says seq ${leaf.seq}`;
    const event = textFact(leaf, 'event_type');
    if (serverOnly(leaf.kind, event) && 'producer' in leaf.pub) {
      return `a fact that only the server may state has the producer ${leaf.pub.producer}`;
    }
    const opened = leaf.kind === 'system' && event === logOpened;
    if (seq === 0 && !opened) return 'the first leaf is not LOG_OPENED';
    if (seq !== 0 && opened) return 'LOG_OPENED is not the first leaf';
    if (opened && textFact(leaf, 'vkey') !== l.key.text) return 'LOG_OPENED names another key than the log is signed with';
    if (leaf.kind === 'system' && event === logClosed && seq !== l.size - 1) return 'leaves follow LOG_CLOSED';
    if (opened && textFact(leaf, 'predecessor_log') !== '') return this.opened(textFact(leaf, 'predecessor_log'));
    return '';
  },

  // opened reads `<origin> <size> <base64 root>`.
  opened(text) {
    const words = text.split(' ');
    try {
      if (words.length !== 3 || !originForm.test(words[0])) throw new Bad('');
      this.predecessor = parseBody(words.join('\n') + '\n');
    } catch (err) {
      if (!(err instanceof Bad)) throw err;
      return 'predecessor_log is not an origin, a size and a root';
    }
    return '';
  },

  fail(code, seq, message, more) {
    return ofLeaf(code, this.l, seq, message, more);
  },

  // take notes what a leaf says beyond its place.
  take(leaf) {
    const {c, l} = this;
    const event = textFact(leaf, 'event_type');
    if (l.report.records++ === 0) l.report.first_at = leaf.t;
    l.report.last_at = leaf.t;
    l.report.closed = leaf.kind === 'system' && event === logClosed;
    if (leaf.seq === 0) l.predecessor = this.predecessor;
    c.count('leaves');
    c.count(leaf.kind);
    l.apart ||= leaf.seq !== l.next;
    l.next = leaf.seq + 1;
    const retention = retentionOf(leaf);
    if (retention !== null) {
      retention.apart = l.apart;
      l.apart = false;
      l.retention.push(retention);
    }
    const ending = checkEnding(leaf);
    if (ending !== '') l.held.add(this.fail('E_GAP', leaf.seq, ending));
    this.covering = leaf.kind === 'audit' && Object.hasOwn(coverReasons, event) ? coverReasons[event] : '';
  },

  // openings matches the sealed fields of the leaf with what the bundle says of them; all
  // three lists are in order of path.
  openings(leaf, disclosed, withheld, account) {
    let d = 0;
    let w = 0;
    for (const h of leaf.h) {
      const place = pathPlaces.get(h.path);
      let open = null;
      let held = null;
      for (; d < disclosed.length && disclosed[d].path <= place; d++) {
        if (disclosed[d].path === place) open = disclosed[d];
        else this.stray(disclosed[d], 'E_COMMIT', 'is disclosed, but the leaf does not commit to it');
      }
      for (; w < withheld.length && withheld[w].path <= place; w++) {
        if (withheld[w].path === place) held = withheld[w];
        else this.stray(withheld[w], 'E_UNACCOUNTED', 'is withheld, but the leaf does not commit to it');
      }
      this.field(leaf, h, open, held, account);
    }
    for (; d < disclosed.length; d++) this.stray(disclosed[d], 'E_COMMIT', 'is disclosed, but the leaf does not commit to it');
    for (; w < withheld.length; w++) this.stray(withheld[w], 'E_UNACCOUNTED', 'is withheld, but the leaf does not commit to it');
  },

  // field checks one sealed field: disclosed so that it makes the commitment, or else
  // withheld.
  field(leaf, h, open, held, account) {
    const {c, l} = this;
    const say = (code, message, more = {}) => l.held.add(this.fail(code, leaf.seq, message, {path: h.path, ...more}));
    if (open !== null && held !== null) {
      say('E_UNACCOUNTED', 'is disclosed and withheld');
    } else if (open !== null && open.commit !== h.hash) {
      say('E_COMMIT', 'what is disclosed is not what was committed to', {expected: h.hash, found: open.commit});
    } else if (open !== null) {
      if (this.covering === '' || h.path !== '/targets') return;
      try {
        const of = about(leaf, this.covering);
        for (const cover of parseTargets(open.targets, l.origin, leaf.seq, this.covering)) this.covers.push({...cover, ...of});
      } catch (err) {
        if (!(err instanceof Bad)) throw err;
        say('E_COMMIT', `is no list of ranges: ${err.message}`);
      }
    } else if (held === null) {
      if (account) say('E_UNACCOUNTED', 'is neither disclosed nor said to be withheld, erased or expired');
    } else {
      c.count(`withheld_${held.reason}`);
      if (held.reason === 'erased' || held.reason === 'expired') this.claims.push({...held, t: leaf.t, kind: leaf.kind, made: leaf.pub.is_synthetic === true});
    }
  },

  stray(o, code, message) {
    this.l.held.add(this.fail(code, o.seq, message, {path: sealedPaths[o.path]}));
  },

  // badLines reports lines that cannot be used.
  badLines() {
    const {c, l} = this;
    if (this.disclosed.bad !== '') l.held.add(finding('E_COMMIT', l, this.disclosed.bad, {path: `${l.dir}/disclosures.jsonl`}));
    if (this.withheld.bad !== '') l.held.add(finding('E_UNACCOUNTED', l, this.withheld.bad, {path: `${l.dir}/withheld.jsonl`}));
    if (this.disclosed.bad === '' && this.withheld.bad === '') l.claims = this.claims;
    for (const cover of this.covers) c.covers.push({...cover, by: l.k});
  },
};

function begin(pass, c, l) {
  Object.assign(pass, {
    c, l, predecessor: null, claims: [], covers: [], covering: '',
    disclosed: new Openings(c.data(`${l.dir}/disclosures.jsonl`), maxDisclosureLine, parseDisclosure),
    withheld: new Openings(c.data(`${l.dir}/withheld.jsonl`), maxWithheldLine, parseWithheld),
  });
}

// checkEnding returns what is wrong with the count in an llm_run, or ''.
function checkEnding(leaf) {
  if (leaf.kind !== 'llm_run') return '';
  if (leaf.run === '') return 'an llm_run without a run';
  if (leaf.pub.record_count !== leaf.n + 1) {
    return `run ${quote(leaf.run)}: its llm_run counts ${leaf.pub.record_count} records and is number ${leaf.n + 1} itself`;
  }
  return '';
}

const gapMessage = (run, want) => `run ${quote(run)}: record n = ${want} is missing here, or stands elsewhere`;

// LogPass goes over all leaves of a log.
class LogPass {
  constructor(c, l) {
    begin(this, c, l);
    this.ids = new Set();
    this.tree = new Frontier();
    this.runs = new Map();
    this.ended = new Set();
    this.last = '';
  }

  async all() {
    const {c, l} = this;
    for (let n = 0; n * tileWidth < l.size; n++) {
      const from = n * tileWidth;
      const fail = this.bundle(c.data(`${l.dir}/${entriesPath(n, entriesWidth(n, l.size))}`), from, from + entriesWidth(n, l.size));
      if (fail !== null) {
        c.findings.add(fail);
        return;
      }
      if (due()) await c.breathe(l.dir, from, l.size);
    }
    this.finish();
  }

  // bundle takes the leaves of one entry bundle and returns the first failure of check 4.
  bundle(data, from, to) {
    const disclosed = this.disclosed.take(to);
    const withheld = this.withheld.take(to);
    // After a bad line nothing is known of the fields that follow.
    const account = this.disclosed.bad === '' && this.withheld.bad === '';
    this.c.count('disclosed', disclosed.length);
    let d = 0;
    let w = 0;
    let at = 0;
    for (let seq = from; seq < to; seq++) {
      const n = at + 2 <= data.length ? data[at] * 256 + data[at + 1] : maxInt;
      if (n > maxLeaf || at + 2 + n > data.length) return this.fail('E_LEAF', seq, 'the entry bundle ends within an entry, or has one over 16 KiB');
      const bytes = data.subarray(at + 2, at + 2 + n);
      at += 2 + n;
      const d0 = d;
      const w0 = w;
      while (d < disclosed.length && disclosed[d].seq === seq) d++;
      while (w < withheld.length && withheld[w].seq === seq) w++;
      const wrong = this.leaf(bytes, seq, disclosed.slice(d0, d), withheld.slice(w0, w), account);
      if (wrong !== '') return this.fail('E_LEAF', seq, wrong);
    }
    return at < data.length ? this.fail('E_LEAF', to - 1, 'bytes after the last entry of its bundle') : null;
  }

  leaf(bytes, seq, disclosed, withheld, account) {
    let leaf;
    try {
      leaf = parseLeaf(bytes);
    } catch (err) {
      if (!(err instanceof Bad)) throw err;
      return err.message;
    }
    const wrong = this.placed(leaf, seq);
    if (wrong !== '') return wrong;
    if (leaf.t < this.last) return 't is smaller than that of the leaf before';
    if (this.ids.has(leaf.id)) return 'the id is that of an earlier leaf';
    this.last = leaf.t;
    this.ids.add(leaf.id);
    this.tree.append(leafHash(bytes));
    if (this.l.marks.has(this.tree.size)) this.l.marks.set(this.tree.size, this.tree.root());
    this.take(leaf);
    this.countRun(leaf);
    this.openings(leaf, disclosed, withheld, account);
    return '';
  }

  // countRun: each run has n = 0, 1, … without gaps in log order. A run of a log with a
  // predecessor may have begun there.
  countRun(leaf) {
    if (leaf.run === '') return;
    const next = this.runs.get(leaf.run) ?? (this.l.predecessor === null ? 0 : leaf.n);
    if (leaf.n !== next) this.l.held.add(this.fail('E_GAP', leaf.seq, gapMessage(leaf.run, next)));
    this.runs.set(leaf.run, leaf.n + 1);
    if (leaf.kind === 'llm_run') this.ended.add(leaf.run);
  }

  finish() {
    const {c, l} = this;
    const root = this.tree.root();
    if (!equal(root, l.head.root)) {
      c.findings.add(finding('E_INCLUSION', l, 'the leaves do not make the tree that the log signed: at least one was changed, added, removed or moved',
        {to: l.size, expected: hex(l.head.root), found: hex(root)}));
      return;
    }
    for (const [openings, name, code] of [[this.disclosed, 'disclosures.jsonl', 'E_COMMIT'], [this.withheld, 'withheld.jsonl', 'E_UNACCOUNTED']]) {
      if (openings.take(Infinity).length > 0) {
        l.held.add(finding(code, l, `speaks of leaves beyond the ${l.size} of the log`, {path: `${l.dir}/${name}`}));
      }
    }
    this.badLines();
    c.count('runs', this.runs.size);
    c.count('runs_ended', this.ended.size);
  }
}

// RecordPass goes over the records of a directory that does not hold every leaf.
class RecordPass {
  constructor(c, l) {
    begin(this, c, l);
    this.ids = new Set();
    this.outside = null; // the first failure of check 5: 4 comes before
    this.next = 0;
    this.last = '';
  }

  async all() {
    const {c, l} = this;
    const path = `${l.dir}/records.jsonl`;
    const lines = new Lines(c.data(path), maxRecordLine, parseRecord);
    for (let r = lines.next(); r !== null; r = lines.next()) {
      const wrong = this.record(r);
      if (wrong !== '') {
        c.findings.add(this.fail('E_LEAF', r.seq, wrong));
        return;
      }
      if (due()) await c.breathe(l.dir, lines.at, lines.bytes.length);
    }
    if (lines.bad !== '') c.findings.add(finding('E_LEAF', l, lines.bad, {path}));
    else this.finish();
  }

  // record checks one record and returns what is wrong by check 4, or ''.
  record(r) {
    const {c, l} = this;
    let leaf;
    try {
      leaf = parseLeaf(r.leaf);
    } catch (err) {
      if (!(err instanceof Bad)) throw err;
      return err.message;
    }
    const wrong = this.placed(leaf, r.seq);
    if (wrong !== '') return wrong;
    if (r.seq < this.next) return 'the record is not in order of seq, or stands twice';
    if (leaf.t < this.last) return 't is smaller than that of an earlier leaf';
    if (this.ids.has(leaf.id)) return 'the id is that of an earlier leaf';
    const strange = c.man.profile === 'run' ? c.scope(l, leaf) : '';
    if (strange !== '') return strange;
    if (this.outside === null && !includes(r.proof, l.size, l.head.root, r.seq, leafHash(r.leaf))) {
      this.outside = this.fail('E_INCLUSION', r.seq, 'the proof does not lead from this leaf to the signed tree: leaf or proof was changed, or the log never had it');
    }
    this.reach(leaf);
    this.next = r.seq + 1;
    this.last = leaf.t;
    this.ids.add(leaf.id);
    this.take(leaf);
    this.own(leaf);
    this.strays(leaf.seq);
    const disclosed = this.disclosed.take(leaf.seq + 1);
    const withheld = this.withheld.take(leaf.seq + 1);
    c.count('disclosed', disclosed.length);
    this.openings(leaf, disclosed, withheld, this.disclosed.bad === '' && this.withheld.bad === '');
    return '';
  }

  // reach notes where the record stands among the others. The record of an erasure or
  // expiry that stands apart from them is none of the stretch: it may be much later than
  // the leaves that it accounts for.
  reach(leaf) {
    const {c, l} = this;
    const s = l.stretch;
    const first = l.report.records === 0;
    const apart = !first && leaf.seq > s.last + 1;
    if (first) Object.assign(s, {first: leaf.seq, firstAt: leaf.t});
    if (!apart || leaf.kind !== 'audit' || !Object.hasOwn(coverReasons, textFact(leaf, 'event_type'))) {
      if (apart) s.holes.push({from: s.last + 1, to: leaf.seq});
      Object.assign(s, {last: leaf.seq, lastAt: leaf.t});
    }
    l.end = leaf.seq;
    if (c.man.profile === 'period' && c.man.scope.from <= leaf.t && leaf.t < c.man.scope.until) s.inside++;
    l.unshared ||= leaf.kind !== 'system' || leaf.run !== '' || textFact(leaf, 'visibility') !== 'shared';
  }

  // own keeps what is needed of a record of the bundle's run.
  own(leaf) {
    if (leaf.run === '' || leaf.run !== this.c.man.scope.run_id) return;
    const counts = leaf.kind === 'llm_run' && textFact(leaf, 'conflict_of') === '';
    this.l.own.push({seq: leaf.seq, n: leaf.n, id: leaf.id, kind: leaf.kind, revision: counts ? leaf.pub.revision : 0});
  }

  // strays reports what is said of leaves before seq that the bundle does not hold.
  strays(seq) {
    for (const o of this.disclosed.take(seq)) this.stray(o, 'E_COMMIT', 'is disclosed of a leaf that is not in the bundle');
    for (const o of this.withheld.take(seq)) this.stray(o, 'E_UNACCOUNTED', 'is withheld of a leaf that is not in the bundle');
  }

  finish() {
    if (this.outside !== null) {
      this.c.findings.add(this.outside);
      return;
    }
    this.strays(Infinity);
    this.badLines();
  }
}

Object.assign(LogPass.prototype, passMethods);
Object.assign(RecordPass.prototype, passMethods);
