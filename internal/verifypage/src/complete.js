// Checks 9 and 10: runs and periods are complete, as far as a bundle that holds some leaves of
// each log can show it.

const maxLater = 1000;

Object.assign(Checker.prototype, {
  // scope returns why a record has no place in a bundle of its run, or ''. What does not
  // belong to the run are system records and audit entries of no run, exports of this
  // run, the records of erasures and expiries, and audit entries of other runs with a
  // correlation id of this one.
  scope(l, leaf) {
    const run = this.man.scope.run_id;
    const event = textFact(leaf, 'event_type');
    if (leaf.run === run) {
      const id = textFact(leaf, 'correlation_id');
      if (id !== '') this.correlations.add(id);
      return '';
    }
    if (leaf.run === '' && (leaf.kind === 'system' || leaf.kind === 'audit')) return '';
    if (leaf.run === '' && leaf.kind === 'export' && textFact(leaf, 'about_run') === run) return '';
    if (leaf.kind !== 'audit') return `a record of kind ${leaf.kind} and run ${quote(leaf.run)} has no place in the bundle of run ${quote(run)}`;
    if (!Object.hasOwn(coverReasons, event)) this.others.push({l, leaf});
    return '';
  },

  // strangers reports audit entries of other runs that nothing binds to this one, once all
  // records of the run are known.
  strangers() {
    for (const {l, leaf} of this.others) {
      if (this.correlations.has(textFact(leaf, 'correlation_id'))) continue;
      this.findings.add(ofLeaf('E_LEAF', l, leaf.seq,
        `an audit entry of run ${quote(leaf.run)}, which no correlation id binds to run ${quote(this.man.scope.run_id)}`));
    }
  },

  // accountFor checks what is said to be erased or expired, once every log has been read:
  // the record may stand in a later log of the tenant.
  accountFor(l) {
    for (const c of uncovered(l.origin, l.k, l.claims, this.covers)) {
      l.held.add(ofLeaf('E_UNACCOUNTED', l, c.seq,
        `said to be ${c.reason}, but no record of the tenant's logs says so of this field`, {path: sealedPaths[c.path]}));
    }
  },

  // expiredEarly looks for expiries of what was too young, in each log as far as the bundle
  // has what came before. What was known is forgotten where leaves are missing: a policy may
  // stand among them. Predecessors stand behind their successors.
  expiredEarly() {
    const after = new Map(); // what is known at the end of a log that is all there
    for (const l of [...this.logs].reverse()) {
      if (l === null) continue;
      let known = new Retention(l.predecessor !== null);
      const older = this.logs[this.before(l)] ?? null;
      if (older !== null && older.k > l.k && older.next === l.predecessor.size) known = after.get(older.k)?.copy() ?? known;
      for (const f of l.retention) {
        if (f.apart) known = new Retention(true);
        const early = known.next(f);
        if (early !== null) l.held.add(ofLeaf('E_UNACCOUNTED', l, f.seq, early.message, early));
      }
      if (!l.apart) after.set(l.k, known);
    }
  },

  // chain finds the tenant's logs among the directories of a sparse bundle: logs/0, then
  // the log that its LOG_OPENED names as its predecessor, and so on. A directory outside
  // that holds nothing but shared system records is the system's log.
  chain() {
    if (this.man.profile === 'log') return;
    this.order = [0];
    for (;;) {
      const k = this.before(this.logs[this.order.at(-1)]);
      if (k < 0 || this.order.includes(k)) break;
      this.order.push(k);
    }
    for (const l of this.logs) {
      if (l !== null && !l.unshared && !this.order.includes(l.k)) l.report.system = true;
    }
  },

  // before returns the directory of the log that this one names as its predecessor, or −1.
  before(l) {
    if (l === null || l.predecessor === null) return -1;
    return this.man.logs.findIndex((d) => d.origin === l.predecessor.origin);
  },

  gap(l, from, to, message) {
    this.findings.add(finding('E_GAP', l, message, {from, to}));
  },

  // runComplete: n from 0 without gaps, from the oldest log to the newest, with an llm_run
  // that counts them. Records may be missing only where a log names one as its predecessor
  // that was left out for want of a key.
  runComplete() {
    const run = this.man.scope.run_id;
    const rep = {run_id: run, records: 0, ended: false, revision: 0, record_count: 0, later: [], later_count: 0};
    this.run = rep;
    let want = 0;
    let jump = false;
    const oldestFirst = this.logs.filter((l) => l !== null).reverse();
    for (const l of oldestFirst) {
      const older = this.before(l);
      if (older >= 0 && this.logs[older] === null) jump = true;
      for (const r of l.own) {
        if (jump && r.n > want) {
          this.findings.add(finding('W_NO_KEY', l, `run ${quote(run)}: records n = ${want} to ${r.n - 1} are not here; ` +
            'they may stand in a log before this one that was left out, and nothing shows that they do'));
          want = r.n;
        }
        jump = false;
        if (r.n !== want) this.gap(l, r.seq, r.seq + 1, gapMessage(run, want));
        want = r.n + 1;
        rep.records++;
        if (r.revision > 0 && r.revision >= rep.revision) {
          Object.assign(rep, {ended: true, revision: r.revision, record_count: r.n + 1});
        }
      }
    }
    if (rep.records === 0 && !jump) {
      this.gap(this.logs[0], 0, 0, `run ${quote(run)}: the bundle holds no record of it`);
    } else if (!rep.ended) {
      this.findings.add(finding('W_OPEN', this.logs[0],
        `run ${quote(run)}: its end is not recorded here; what is here has no gaps, and nothing says how much was still to come`));
    }
    if (rep.ended) this.later(rep, oldestFirst);
    this.manifestOrder();
    this.foreign();
  },

  // foreign says which directories nothing makes one of the tenant's: their records of no
  // run, such as entries about policies, may be anybody's.
  foreign() {
    if (this.logs[this.order.at(-1)] === null) return; // W_NO_KEY: they may stand behind that one
    for (const l of this.logs) {
      if (l === null || l.report.system || this.order.includes(l.k)) continue;
      this.findings.add(finding('W_PREDECESSOR', l,
        "nothing in the bundle leads from the newest log to this one: its records may be another tenant's"));
    }
  },

  // later lists what came after the run's newest llm_run.
  later(rep, logs) {
    for (const l of logs) {
      for (const r of l.own) {
        if (r.n < rep.record_count) continue;
        if (rep.later_count++ < maxLater) {
          rep.later.push({dir: l.dir, leaf_index: r.seq, n: r.n, kind: r.kind, record_id: r.id});
        }
      }
    }
  },

  // manifestOrder says where nothing but the manifest puts the logs of a run in their
  // order. The system's log stands among them, but is none of them.
  manifestOrder() {
    const logs = this.logs.filter((l) => l === null || !l.report.system);
    const own = logs.map((l) => l !== null && l.own.length > 0);
    for (let k = Math.max(own.indexOf(true), 0); k < own.lastIndexOf(true); k++) {
      const [l, older] = [logs[k], logs[k + 1]];
      if (l === null || older === null || l.predecessor?.origin === older.origin) continue;
      this.findings.add(finding('W_PREDECESSOR', l,
        `nothing in the bundle says that this log follows ${older.origin}; that order is the manifest's`));
    }
  },

  // periodComplete: of the tenant's logs the bundle holds every leaf with from <= t <
  // until, which the leaves next to them show, one before and one after, or the log's own
  // beginning and end.
  periodComplete() {
    const {kind, from, until} = this.man.scope;
    this.period = {kind, from, until, records: 0, open: false};
    for (const k of this.order) {
      const l = this.logs[k];
      if (l === null) break; // W_NO_KEY
      this.period.records += l.stretch.inside;
      if (l.report.records === 0) {
        this.gap(l, 0, 0, 'the bundle holds no record of this log, not even the ones next to the period');
        break;
      }
      for (const h of l.stretch.holes) this.gap(l, h.from, h.to, 'these leaves are missing between two that are here');
      this.begins(l, from);
      this.ends(l, until, k === 0);
    }
    for (const l of this.logs) {
      if (l === null || l.report.system || this.order.includes(l.k)) continue;
      this.gap(l, 0, 0, 'nothing in the bundle leads from the newest log to this one, which does not hold shared records of the system only');
    }
  },

  // begins checks that no leaf of the period stands before a directory's first.
  begins(l, from) {
    const s = l.stretch;
    const pre = l.predecessor;
    if (s.firstAt < from) return;
    if (s.first > 0) {
      this.gap(l, s.first - 1, s.first, 'the leaf before the first one is missing, and the first one is not older than the period');
    } else if (pre !== null) {
      const k = this.before(l);
      const older = this.logs[k] ?? null;
      if (k < 0) {
        this.gap(l, 0, 0, `the period reaches into the log before, ${pre.origin}, which is not in the bundle`);
      } else if (older !== null && older.size < pre.size) {
        this.gap(older, older.size, pre.size, `${l.origin} follows these leaves, which are not in the bundle`);
      }
    }
  },

  // ends checks that no leaf of the period stands behind a directory's last: t never
  // decreases.
  ends(l, until, newest) {
    const s = l.stretch;
    if (s.lastAt >= until) return;
    if (s.last !== l.size - 1) {
      this.gap(l, s.last + 1, s.last + 2, "the leaf after the last one is missing, and the last one is older than the period's end");
    } else if (newest) {
      this.period.open = true;
      this.findings.add(finding('W_OPEN', l,
        `the log ended, at ${s.lastAt}, before the period did: nothing says what was still to come`, {path: `${l.dir}/checkpoint`}));
    }
  },
});
