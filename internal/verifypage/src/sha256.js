// SHA-256, FIPS 180-4. The browser's own (WebCrypto) hashes the files; it answers each
// question by way of the event loop, which for the leaves, nodes and commitments of a
// log, millions of short texts, takes many times as long as the hashing itself. So
// those are hashed here. Before the first verification selfTest holds the two against
// each other.

const rounds = new Uint32Array(64);
const initial = new Uint32Array(8);
(() => {
  // The first 32 bits of the fractions of the roots of the first primes.
  const fraction = (x) => ((x - Math.floor(x)) * 2 ** 32) >>> 0;
  for (let n = 2, i = 0; i < 64; n++) {
    let prime = true;
    for (let d = 2; d * d <= n; d++) prime = prime && n % d !== 0;
    if (!prime) continue;
    rounds[i] = fraction(Math.cbrt(n));
    if (i < 8) initial[i] = fraction(Math.sqrt(n));
    i++;
  }
})();

const sha = {h: new Uint32Array(8), w: new Uint32Array(64), block: new Uint8Array(64), used: 0, total: 0};

function shaCompress(b, at) {
  const w = sha.w;
  for (let i = 0; i < 16; i++, at += 4) w[i] = (b[at] << 24) | (b[at + 1] << 16) | (b[at + 2] << 8) | b[at + 3];
  for (let i = 16; i < 64; i++) {
    const x = w[i - 15];
    const y = w[i - 2];
    w[i] = w[i - 16] + w[i - 7] +
      (((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3)) +
      (((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10));
  }
  const s = sha.h;
  let a = s[0] | 0, b1 = s[1] | 0, c = s[2] | 0, d = s[3] | 0, e = s[4] | 0, f = s[5] | 0, g = s[6] | 0, h = s[7] | 0;
  for (let i = 0; i < 64; i++) {
    const t1 = (h + (((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))) +
      ((e & f) ^ (~e & g)) + rounds[i] + w[i]) | 0;
    const t2 = ((((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))) +
      ((a & b1) ^ (a & c) ^ (b1 & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b1;
    b1 = a;
    a = (t1 + t2) | 0;
  }
  s[0] += a;
  s[1] += b1;
  s[2] += c;
  s[3] += d;
  s[4] += e;
  s[5] += f;
  s[6] += g;
  s[7] += h;
}

function shaUpdate(data) {
  let at = 0;
  sha.total += data.length;
  if (sha.used > 0) {
    while (sha.used < 64 && at < data.length) sha.block[sha.used++] = data[at++];
    if (sha.used < 64) return;
    shaCompress(sha.block, 0);
    sha.used = 0;
  }
  for (; at + 64 <= data.length; at += 64) shaCompress(data, at);
  while (at < data.length) sha.block[sha.used++] = data[at++];
}

// sha256 returns the digest of the parts one after another.
function sha256(...parts) {
  sha.h.set(initial);
  sha.used = sha.total = 0;
  for (const p of parts) shaUpdate(p);
  const {block, total} = sha;
  block[sha.used++] = 0x80;
  if (sha.used > 56) {
    block.fill(0, sha.used);
    shaCompress(block, 0);
    sha.used = 0;
  }
  block.fill(0, sha.used);
  const size = new DataView(block.buffer);
  size.setUint32(56, Math.floor(total / 2 ** 29));
  size.setUint32(60, (total << 3) >>> 0);
  shaCompress(block, 0);
  const out = new Uint8Array(32);
  for (let i = 0; i < 8; i++) {
    const v = sha.h[i];
    out[4 * i] = v >>> 24;
    out[4 * i + 1] = v >>> 16;
    out[4 * i + 2] = v >>> 8;
    out[4 * i + 3] = v;
  }
  return out;
}

async function webSHA256(data) {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', data));
}

// The hashes of formats.md section 2.
const leafPrefix = Uint8Array.of(0);
const nodePrefix = Uint8Array.of(1);
const leafHash = (leaf) => sha256(leafPrefix, leaf);
const nodeHash = (left, right) => sha256(nodePrefix, left, right);
const emptyRoot = sha256();

const fieldPrefix = utf8.encode('runledger/field/v1\0');

const fieldHeads = new Map(); // by path: all that is hashed before the value

// commit returns the commitment to the exact JSON text of a sealed field.
function commit(path, salt, value) {
  let head = fieldHeads.get(path);
  if (head === undefined) {
    const name = utf8.encode(path);
    head = concat(fieldPrefix, new Uint8Array(16), Uint8Array.of(name.length >> 8, name.length), name, new Uint8Array(8));
    fieldHeads.set(path, head);
  }
  head.set(salt, fieldPrefix.length);
  const view = new DataView(head.buffer);
  view.setUint32(head.length - 8, Math.floor(value.length / 2 ** 32));
  view.setUint32(head.length - 4, value.length >>> 0);
  return sha256(head, value);
}

// selfTest throws where this browser cannot do what a verification needs.
async function selfTest() {
  if (!globalThis.crypto || !crypto.subtle) {
    throw new Bad('this page was not opened in a secure context, so the browser gives it no cryptography: open it from a file, or over https');
  }
  const sample = new Uint8Array(1000);
  for (let i = 0; i < sample.length; i++) sample[i] = (i * 31) ^ (i >> 3);
  for (const n of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000]) {
    const data = sample.subarray(0, n);
    const want = await webSHA256(data);
    if (!equal(sha256(data), want) || !equal(sha256(data.subarray(0, n >> 1), data.subarray(n >> 1)), want)) {
      throw new Bad('SHA-256 of this page and of the browser differ');
    }
  }
  // RFC 8032 section 7.1, test 1.
  const key = bytesOfHex('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a');
  const sig = bytesOfHex('e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155' +
    '5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b');
  if (!await ed25519(key, new Uint8Array(), sig) || await ed25519(key, Uint8Array.of(1), sig)) {
    throw new Bad('this browser cannot check Ed25519 signatures: a newer one can');
  }
}

const bytesOfHex = (s) => Uint8Array.from(s.match(/../g), (h) => parseInt(h, 16));

async function ed25519(publicKey, message, signature) {
  try {
    const key = await crypto.subtle.importKey('raw', publicKey, 'Ed25519', false, ['verify']);
    return await crypto.subtle.verify('Ed25519', key, signature, message);
  } catch {
    return false; // no point of the curve, or no Ed25519 at all: see selfTest
  }
}
