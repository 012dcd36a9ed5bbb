// Checks 6, 7, 8 and 11: what others have seen, and that every signed tree in the bundle
// is one of the same log.

const tolerance = 5n * 60n * 1000000n; // how far clocks may be apart, in microseconds
const firstMicros = micros('0001-01-01T00:00:00.000000Z');
const lastMicros = micros('9999-12-31T23:59:59.999999Z');

// cosignedAt is the time of a cosignature in microseconds; beyond 2^40 seconds none is of
// use.
const cosignedAt = (s) => (s.time < 2n ** 40n ? s.time : 2n ** 40n) * 1000000n;

Object.assign(Checker.prototype, {
  // quorum is check 6: enough witnesses of the policy have cosigned the checkpoint.
  async quorum(l) {
    const path = `${l.dir}/checkpoint`;
    const {policy} = this.trust;
    if (policy === null) {
      this.findings.add(finding('W_NO_QUORUM', l, 'no witness policy was given: nobody else is known to have seen this log', {path}));
      return;
    }
    try {
      l.head = await verifyNote(l.note, l.key, ...policy.witnesses.map((w) => w.key));
    } catch (err) {
      if (!(err instanceof Bad)) throw err;
      this.findings.add(finding('E_QUORUM', l, err.message, {path}));
      return;
    }
    const by = new Set();
    for (const s of l.head.cosignatures) {
      by.add(s.key.text);
      const {name} = policy.witnesses.find((w) => w.key === s.key);
      l.report.witnesses.push({name, key: s.key.text, time: cosignedAt(s) > lastMicros ? '' : timeText(cosignedAt(s))});
    }
    if (!quorumMet(policy, by)) {
      this.findings.add(finding('E_QUORUM', l, 'too few witnesses have cosigned the checkpoint',
        {path, expected: "the policy's quorum", found: `${by.size} cosignatures by its witnesses`}));
    }
  },

  // times is check 7: what others say of the time agrees with the leaves' own t. This page
  // does not read RFC 3161 time stamps.
  times(l) {
    const path = `${l.dir}/checkpoint`;
    for (const s of l.head.cosignatures) {
      const at = cosignedAt(s);
      if (at < firstMicros || at > lastMicros) {
        this.findings.add(finding('E_TIME', l, `the time of ${s.key.name} is out of range`, {path}));
      } else if (l.report.records > 0 && micros(l.report.last_at) > at + tolerance) {
        const seq = l.sparse ? l.end : l.size - 1;
        this.findings.add(ofLeaf('E_TIME', l, seq, `the leaf says it was recorded after ${s.key.name} saw the log with it, at ${l.size} leaves`,
          {path, expected: `t not after ${timeText(at + tolerance)}`, found: l.report.last_at}));
      }
    }
    const stamps = l.files.stamps;
    if (stamps.length > 0) {
      this.findings.add(finding('W_TIME_UNCHECKED', l, `${stamps.length === 1 ? '1 RFC 3161 time stamp was' : `${stamps.length} RFC 3161 time stamps were`} not checked: this page reads none, the command and other tools do`,
        {path: `${l.dir}/anchors/${stamps[0]}.tsr`}));
    }
    if (l.head.cosignatures.length === 0) {
      this.findings.add(finding('W_NO_TIME', l, "no time from outside was checked: when records were made is known from the server's clock only"));
    }
  },

  fork(l, path, size, wanted, got) {
    this.findings.add(finding('E_FORK', l, `the log has signed two different trees of ${size} leaves: it shows different histories`,
      {path, to: size, expected: hex(wanted), found: hex(got)}));
  },

  // links checks that every checkpoint in the directory is of the same log: where all
  // leaves are there, older trees are computed again; else proofs must lead to them.
  links(l) {
    if (l.sparse) {
      this.sparseLinks(l);
      return;
    }
    const unproven = 'the newer tree is not proven to extend the older one';
    for (const p of l.proofs) {
      const own = l.marks.get(p.new);
      if (own !== undefined && !equal(own, p.head.root)) {
        this.fork(l, p.path, p.new, own, p.head.root);
      } else if (!extends_(p.hashes, p.new, p.head.root, p.old, l.marks.get(p.old))) {
        this.findings.add(finding('E_FORK', l, unproven, {path: p.path}));
      }
    }
    for (const a of l.anchors) {
      const path = `${l.dir}/anchors/${a.size}.note`;
      const root = this.rootAt(l, a.size);
      if (root === null) {
        this.findings.add(finding('E_FORK', l, "the checkpoint is newer than the directory's, and no consistency proof leads to it", {path}));
      } else if (!equal(root, a.root)) {
        this.fork(l, path, a.size, root, a.root);
      }
    }
  },

  sparseLinks(l) {
    const signed = new Map([[l.size, l.head.root]]);
    const sign = (path, {size, root}) => {
      if (signed.has(size) && !equal(signed.get(size), root)) this.fork(l, path, size, signed.get(size), root);
      else signed.set(size, root);
    };
    for (const a of l.anchors) sign(`${l.dir}/anchors/${a.size}.note`, a);
    for (const p of l.proofs) sign(p.path, p.head);
    l.linked = new Map([[0, emptyRoot], [l.size, l.head.root]]);
    for (const p of l.proofs) {
      // A proof from a tree that nobody here has signed is for an auditor who kept that
      // tree: see since.
      const was = signed.get(p.old);
      if (was === undefined) continue;
      if (!extends_(p.hashes, p.new, p.head.root, p.old, was)) {
        this.findings.add(finding('E_FORK', l, 'the newer tree is not proven to extend the older one', {path: p.path}));
      } else if (l.size === p.old) {
        l.linked.set(p.new, p.head.root);
      } else if (l.size === p.new) {
        l.linked.set(p.old, was);
      }
    }
    for (const a of l.anchors) {
      if (l.linked.has(a.size)) continue;
      this.findings.add(finding('E_FORK', l, "no consistency proof leads between this checkpoint and the directory's",
        {path: `${l.dir}/anchors/${a.size}.note`}));
    }
  },

  // rootAt returns the root of the log at a size: computed, or, for sizes beyond the
  // directory's checkpoint, proven. Null where it is neither.
  rootAt(l, size) {
    if (l.sparse) return l.linked.get(size) ?? null;
    if (l.marks.has(size)) return l.marks.get(size);
    const p = l.proofs.find((p) => p.new === size && extends_(p.hashes, size, p.head.root, p.old, l.marks.get(p.old)));
    return p === undefined ? null : p.head.root;
  },

  // predecessors compares what LOG_OPENED says of the log before with that log.
  predecessors() {
    for (const l of this.logs) {
      const pre = l?.predecessor ?? null;
      const older = pre === null ? null : this.logs[this.before(l)] ?? null;
      if (older === null || older === l) continue;
      const root = this.rootAt(older, pre.size);
      if (root === null) {
        this.findings.add(finding('W_PREDECESSOR', older, `${l.origin} names it at ${pre.size} leaves; that tree is not in the bundle`));
      } else if (!equal(root, pre.root)) {
        this.fork(older, l.dir, pre.size, root, pre.root);
      }
    }
  },

  // since is check 8: the log extends the checkpoint that the auditor kept.
  since() {
    const {kept, since} = this.trust;
    if (kept === null) return;
    const unknown = (l, message) => this.findings.add(finding('U_SINCE', l ?? {origin: kept.origin, dir: ''}, message));
    const l = this.logs.find((l) => l?.origin === kept.origin);
    if (since === null) {
      unknown(null, 'no key was given for the log of the checkpoint that was kept');
    } else if (l === undefined) {
      unknown(null, 'the bundle does not hold the log of the checkpoint that was kept');
    } else {
      const root = this.rootAt(l, kept.size);
      if (root !== null && !equal(root, kept.root)) this.fork(l, '', kept.size, root, kept.root);
      else if (root === null && l.sparse) this.sparseSince(l, kept, unknown);
      else if (root === null) {
        unknown(l, `the checkpoint that was kept is of ${kept.size} leaves, newer than this bundle, and no consistency proof leads to it`);
      }
    }
  },

  sparseSince(l, kept, unknown) {
    const p = l.proofs.find((p) => p.old === kept.size && p.new === l.size);
    if (p === undefined) {
      unknown(l, `no consistency proof leads from the checkpoint that was kept, of ${kept.size} leaves, to this bundle: ` +
        `have it exported with since_size ${kept.size}`);
    } else if (!extends_(p.hashes, l.size, l.head.root, kept.size, kept.root)) {
      this.findings.add(finding('E_FORK', l, "the bundle's log does not extend the checkpoint that was kept", {path: p.path}));
    }
  },

  // receipt is check 11: the export record that names this manifest is in the log, and the
  // log that holds it extends that of the bundle.
  async receipt() {
    this.receiptChecked = true;
    const l = this.logs[0];
    try {
      await this.checkReceipt(l);
    } catch (err) {
      if (!(err instanceof Bad)) throw err;
      this.findings.add(finding('E_RECEIPT', l, err.message));
    }
  },

  async checkReceipt(l) {
    const [leafPath, proofPath, linkPath] = receiptPaths;
    for (const path of receiptPaths) if (!this.files.has(path)) bad(`${path} is missing`);
    const raw = this.read(leafPath, maxLeaf);
    const leaf = parseLeaf(raw);
    this.checkExport(l, leaf);
    const proof = parseProof(this.read(proofPath, maxSmall));
    const head = await verifyNote(proof.note, l.key);
    if (head.origin !== l.origin) bad(`${proofPath}: the checkpoint is of the log ${head.origin}`);
    if (head.unknown > 0) bad(`${proofPath}: the checkpoint has more than the log's own signature`);
    if (proof.number !== leaf.seq) bad(`${proofPath} is of leaf ${proof.number}, the record is leaf ${leaf.seq}`);
    if (!includes(proof.hashes, head.size, head.root, leaf.seq, leafHash(raw))) {
      bad(`inclusion of leaf ${leaf.seq} in the tree of ${head.size} leaves is not proven`);
    }
    const link = parseConsistency(this.read(linkPath, maxSmall));
    if (!equal(link.note, proof.note)) bad(`${linkPath} and ${proofPath} have different checkpoints`);
    if (link.number !== l.size) bad(`${linkPath} begins at ${link.number} leaves, the bundle has ${l.size}`);
    if (!extends_(link.hashes, head.size, head.root, l.size, l.head.root)) {
      bad(`the tree of ${head.size} leaves is not proven to extend that of ${l.size}`);
    }
  },

  // checkExport throws where the receipt's record is not the one of this bundle.
  checkExport(l, leaf) {
    const path = receiptPaths[0];
    const text = (name) => textFact(leaf, name);
    if (leaf.kind !== 'export' || text('status') !== 'completed') bad(`${path} is not a completed export`);
    if (leaf.log !== l.origin) bad(`${path} is of the log ${leaf.log}`);
    if ('producer' in leaf.pub) bad(`${path} has a producer, but only the server may state exports`);
    if (text('manifest') !== this.manDigest) bad(`${path} is of the manifest ${quote(text('manifest'))}; this one has ${this.manDigest}`);
    if (text('export_id') !== this.man.export_id) bad(`${path} is of export ${quote(text('export_id'))}, the manifest of ${quote(this.man.export_id)}`);
    if (l.report.closed) bad(`${path} stands behind LOG_CLOSED, which no leaf may follow`);
    if (leaf.seq < l.size) bad(`${path} says leaf ${leaf.seq}, which is in the bundle`);
    if (leaf.t < (l.report.last_at ?? '1970-01-01T00:00:00.000000Z')) bad(`${path}: t is smaller than that of the bundle's last leaf`);
    for (const s of l.head.cosignatures) {
      if (micros(leaf.t) < cosignedAt(s) - tolerance) bad(`${path} says it was recorded before ${s.key.name} saw the log without it`);
    }
  },
});

let tested = null; // what selfTest said, once for a page

// runledgerVerify checks a bundle, the bytes of a ZIP, with what the auditor knows: keys of
// logs (an array of texts), policy and since (texts, or null). It throws an Error where
// these, or the browser, are of no use; what is wrong with the bundle is in its answer.
async function runledgerVerify(bytes, trust = {}, progress = () => {}) {
  tested ??= selfTest();
  await tested;
  const c = new Checker(bytes, await parseTrust(trust), progress);
  await c.check();
  return c.result();
}
