// Notes, checkpoints, keys and proofs, each in one strict form (C2SP tlog-checkpoint,
// signed-note, tlog-cosignature, tlog-proof, tlog-witness, tlog-tiles; RFC 6962).

const maxNote = 64 << 10;
const maxSignatures = 100;
const maxProof = 63;
const algEd25519 = 1;
const algCosignature = 4;
const tileWidth = 256;

const validName = (s) => s !== '' && s.isWellFormed() && !/[+\p{White_Space}\p{Cc}]/u.test(s);

// parseKey reads a verifier key: name+hex8(key id)+base64(type || key).
function parseKey(s) {
  const i = s.indexOf('+');
  const j = s.indexOf('+', i + 1);
  const name = s.slice(0, i);
  if (i < 0 || j < 0 || !validName(name)) throw new Bad(`verifier key ${quote(s)}: not name+key id+key`);
  const raw = base64(s.slice(j + 1));
  if (raw === null || raw.length !== 33) throw new Bad(`verifier key of ${name}: the key is not 33 bytes of strict base64`);
  const alg = raw[0];
  if (alg !== algEd25519 && alg !== algCosignature) throw new Bad(`verifier key of ${name}: unknown signature type ${alg}`);
  const id = hex(sha256(utf8.encode(name + '\n'), raw).subarray(0, 4));
  if (s.slice(i + 1, j) !== id) throw new Bad(`verifier key of ${name}: key id is ${quote(s.slice(i + 1, j))}, but the key makes it ${id}`);
  return {name, alg, id, public: raw.subarray(1), text: s};
}

// parseBody reads the three lines that log and witnesses sign.
function parseBody(body) {
  const lines = body.split('\n');
  if (lines.length !== 4 || lines[3] !== '') throw new Bad('checkpoint: must be three lines');
  const c = {origin: lines[0], size: decimal(lines[1]), root: hashOf(lines[2]), body: utf8.encode(body)};
  if (!validName(c.origin)) throw new Bad(`checkpoint: ${quote(c.origin)} is not an origin`);
  if (c.size === null) throw new Bad(`checkpoint: ${quote(lines[1])} is not a tree size`);
  if (c.root === null) throw new Bad(`checkpoint: ${quote(lines[2])} is not a root hash in base64`);
  if (c.size === 0 && !equal(c.root, emptyRoot)) throw new Bad('checkpoint: the empty tree has another root');
  return c;
}

// parseNote reads a signed checkpoint. Nothing of it may be trusted until verifyNote
// has checked the signatures.
function parseNote(bytes) {
  if (bytes.length > maxNote) throw new Bad(`note: over ${maxNote} bytes`);
  const s = asText(bytes, 'note');
  const blank = s.indexOf('\n\n');
  if (blank < 0) throw new Bad('note: no signatures after a blank line');
  return {...parseBody(s.slice(0, blank + 1)), signatures: parseSignatures(s.slice(blank + 2))};
}

function parseSignatures(s) {
  const lines = s.split('\n');
  if (lines.length < 2 || lines.pop() !== '') throw new Bad('note: a signature line does not end');
  if (lines.length > maxSignatures) throw new Bad(`note: over ${maxSignatures} signatures`);
  return lines.map((line) => {
    const space = line.indexOf(' ', 2);
    const name = line.slice(2, space);
    if (!line.startsWith('— ') || space < 0 || !validName(name)) throw new Bad('note: a signature line is not "— name signature"');
    const raw = base64(line.slice(space + 1));
    if (raw === null || raw.length < 5) throw new Bad(`note: the signature of ${name} is not strict base64 of a key id and a signature`);
    return {name, id: hex(raw.subarray(0, 4)), sig: raw.subarray(4)};
  });
}

// verifyNote reads a note and checks its signatures by the given keys: the log's must
// be there; signatures by other keys are ignored; one by a given key that does not
// hold, or a second one by the same key, is a failure.
async function verifyNote(bytes, ...keys) {
  const note = parseNote(bytes);
  const v = {origin: note.origin, size: note.size, root: note.root, cosignatures: [], unknown: 0};
  const seen = new Set();
  let signed = false;
  for (const s of note.signatures) {
    const k = keys.find((k) => k.name === s.name && k.id === s.id);
    if (k === undefined) {
      v.unknown++;
      continue;
    }
    if (seen.has(k)) throw new Bad(`checkpoint of ${note.origin}: two signatures by ${k.name}`);
    seen.add(k);
    if (k.alg === algCosignature) {
      v.cosignatures.push({key: k, time: await checkCosignature(note, k, s.sig)});
    } else {
      if (!await ed25519(k.public, note.body, s.sig)) throw new Bad(`checkpoint of ${note.origin}: the signature of ${k.name} does not hold`);
      if (k.name === note.origin) signed = true;
    }
  }
  if (!signed) throw new Bad(`checkpoint of ${note.origin}: not signed by the log's key`);
  return v;
}

// checkCosignature returns the time, in seconds since 1970: a BigInt.
async function checkCosignature(note, key, sig) {
  const bad = new Bad(`checkpoint of ${note.origin}: the cosignature of ${key.name} does not hold`);
  if (sig.length !== 72) throw bad;
  const time = new DataView(sig.buffer, sig.byteOffset).getBigUint64(0);
  if (time >= 2n ** 63n) throw bad;
  const message = concat(utf8.encode(`cosignature/v1\ntime ${time}\n`), note.body);
  if (!await ed25519(key.public, message, sig.subarray(8))) throw bad;
  return time;
}

// parseProofText reads "<word><number>", hash lines, a blank line and a note.
function parseProofText(what, word, s) {
  const lines = s.split('\n');
  const number = lines[0].startsWith(word) && lines.length > 1 ? decimal(lines[0].slice(word.length)) : null;
  if (number === null) throw new Bad(`${what}: expected a line "${word}<number>"`);
  const blank = lines.indexOf('', 1);
  if (blank < 0 || blank === lines.length - 1) throw new Bad(`${what}: no blank line and checkpoint`);
  const hashes = lines.slice(1, blank).map(hashOf);
  if (hashes.includes(null)) throw new Bad(`${what}: a line of the proof is not a hash in base64`);
  if (hashes.length > maxProof) throw new Bad(`${what}: over ${maxProof} hashes`);
  const note = utf8.encode(lines.slice(blank + 1).join('\n'));
  parseNote(note);
  return {number, hashes, note};
}

function parseProof(bytes) {
  const s = asText(bytes, 'tlog-proof');
  const header = 'c2sp.org/tlog-proof@v1\n';
  if (!s.startsWith(header)) throw new Bad('tlog-proof: the first line is another');
  return parseProofText('tlog-proof', 'index ', s.slice(header.length));
}

const parseConsistency = (bytes) => parseProofText('add-checkpoint', 'old ', asText(bytes, 'add-checkpoint'));

// split is the largest power of two below n.
function split(n) {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

// includes checks that the tree of that size and root has the leaf at that index, RFC
// 6962 section 2.1.1.
function includes(proof, size, root, index, leaf) {
  if (index >= size || size > maxInt || proof.length > maxProof) return false;
  const walk = (n, lo, hi) => { // n hashes are left; null: the proof has another length
    if (lo + 1 === hi) return n === 0 ? leaf : null;
    if (n === 0) return null;
    const k = lo + split(hi - lo);
    const h = index < k ? walk(n - 1, lo, k) : walk(n - 1, k, hi);
    if (h === null) return null;
    return index < k ? nodeHash(h, proof[n - 1]) : nodeHash(proof[n - 1], h);
  };
  const got = walk(proof.length, 0, size);
  return got !== null && equal(got, root);
}

// extends_ checks that the tree of size and root extends that of old and oldRoot, RFC
// 6962 section 2.1.2. Every tree extends the empty one, and itself, by empty proofs.
function extends_(proof, size, root, old, oldRoot) {
  if (old > size || size > maxInt || proof.length > maxProof) return false;
  if (old === 0) {
    return proof.length === 0 && equal(oldRoot, emptyRoot) && (size > 0 || equal(root, emptyRoot));
  }
  const walk = (n, lo, hi) => { // the older and the newer hash of the subtree
    if (old === hi) {
      if (lo === 0) return n === 0 ? [oldRoot, oldRoot] : null;
      return n === 1 ? [proof[0], proof[0]] : null;
    }
    if (n === 0) return null;
    const k = lo + split(hi - lo);
    const p = proof[n - 1];
    const both = old <= k ? walk(n - 1, lo, k) : walk(n - 1, k, hi);
    if (both === null) return null;
    return old <= k ? [both[0], nodeHash(both[1], p)] : [nodeHash(p, both[0]), nodeHash(p, both[1])];
  };
  const got = walk(proof.length, 0, size);
  return got !== null && equal(got[0], oldRoot) && equal(got[1], root);
}

// Frontier is the right edge of a growing tree: of each height the perfect subtree that
// its leaves fill, if there is one. Each node is hashed once.
class Frontier {
  constructor() {
    this.size = 0;
    this.nodes = [];
  }

  append(h) {
    let at = 0;
    for (let n = this.size; n % 2 === 1; n = (n - 1) / 2) h = nodeHash(this.nodes[at++], h);
    this.nodes[at] = h;
    this.size++;
  }

  root() {
    let h = null;
    for (let n = this.size, at = 0; n > 0; n = Math.floor(n / 2), at++) {
      if (n % 2 === 1) h = h === null ? this.nodes[at] : nodeHash(this.nodes[at], h);
    }
    return h ?? emptyRoot;
  }
}

// entriesPath returns tile/entries/<N>[.p/<W>]: N in groups of three digits, all but the
// last with x before them.
function entriesPath(n, width) {
  const digits = String(n);
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/.../g);
  const last = groups.pop();
  const path = 'tile/entries/' + groups.map((g) => `x${g}/`).join('') + last;
  return width === tileWidth ? path : `${path}.p/${width}`;
}

const entriesWidth = (n, size) => Math.min(size - n * tileWidth, tileWidth);
