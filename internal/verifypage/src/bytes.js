// Bytes and texts. Whatever is not exactly in its one form is null or throws Bad.

// Bad says why something that was read is not in its form.
class Bad extends Error {}

const utf8 = new TextEncoder();
const utf8Strict = new TextDecoder('utf-8', {fatal: true, ignoreBOM: true});
const utf8Loose = new TextDecoder('utf-8', {ignoreBOM: true});

const maxInt = Number.MAX_SAFE_INTEGER; // 2^53−1, of public facts and tree sizes

// textOf returns the text of UTF-8 bytes, null where they are not UTF-8.
function textOf(bytes) {
  try {
    return utf8Strict.decode(bytes);
  } catch {
    return null;
  }
}

function asText(bytes, what) {
  const s = textOf(bytes);
  if (s === null) throw new Bad(`${what}: not UTF-8`);
  return s;
}

const byteLength = (s) => (/^[\x00-\x7f]*$/.test(s) ? s.length : utf8.encode(s).length);

// byBytes compares texts as their UTF-8 bytes compare, which is the order of code
// points and not that of UTF-16.
function byBytes(a, b) {
  for (let i = 0; i < a.length && i < b.length; i++) {
    if (a[i] !== b[i]) {
      const wide = (c) => (c >= 0xd800 && c < 0xe000 ? c + 0x10000 : c);
      return wide(a.charCodeAt(i)) - wide(b.charCodeAt(i));
    }
  }
  return a.length - b.length;
}

function equal(a, b) {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function concat(...parts) {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

const hexBytes = Array.from({length: 256}, (_, i) => i.toString(16).padStart(2, '0'));

function hex(bytes) {
  let s = '';
  for (const b of bytes) s += hexBytes[b];
  return s;
}

// base64 reads padded base64 without spare bits and line breaks, or returns null.
function base64(s) {
  try {
    const raw = atob(s);
    return btoa(raw) === s ? Uint8Array.from(raw, (c) => c.charCodeAt(0)) : null;
  } catch {
    return null;
  }
}

function toBase64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

function alphabet(last) {
  const values = new Uint8Array(128).fill(255);
  [...('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789' + last)].forEach((c, i) => {
    values[c.charCodeAt(0)] = i;
  });
  return values;
}

const base64Values = alphabet('+/');
const base64urlValues = alphabet('-_');

// decode64 reads as many bytes from the characters of an alphabet as they are to be,
// without spare bits and without padding, or returns null.
function decode64(s, size, values) {
  const n = Math.ceil((size * 8) / 6);
  if (s.length !== n) return null;
  const out = new Uint8Array(size);
  let bits = 0;
  let have = 0;
  let at = 0;
  for (let i = 0; i < n; i++) {
    const v = values[s.charCodeAt(i)] ?? 255;
    if (v === 255) return null;
    bits = ((bits << 6) | v) & 0xffff;
    have += 6;
    if (have >= 8) {
      have -= 8;
      out[at++] = bits >> have;
    }
  }
  return (bits & ((1 << have) - 1)) === 0 ? out : null;
}

const commitmentForm = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/; // 32 bytes, base64url

// hashOf reads 44 characters of strict base64, or returns null.
const hashOf = (s) => (s.length === 44 && s[43] === '=' ? decode64(s.slice(0, 43), 32, base64Values) : null);

const alphabetURL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

// commitmentText writes 32 bytes as the 43 characters that stand in a leaf.
function commitmentText(b) {
  let s = '';
  for (let i = 0; i < 30; i += 3) {
    const v = (b[i] << 16) | (b[i + 1] << 8) | b[i + 2];
    s += alphabetURL[v >> 18] + alphabetURL[(v >> 12) & 63] + alphabetURL[(v >> 6) & 63] + alphabetURL[v & 63];
  }
  const v = (b[30] << 8) | b[31];
  return s + alphabetURL[v >> 10] + alphabetURL[(v >> 4) & 63] + alphabetURL[(v << 2) & 63];
}

// decimal reads 0 to 2^53−1 without sign and leading zeros, or returns null.
function decimal(s) {
  if (!/^(?:0|[1-9][0-9]{0,15})$/.test(s)) return null;
  const v = Number(s);
  return v <= maxInt ? v : null;
}

// crc32 is that of ZIP files, IEEE 802.3, eight bytes at a time.
const crc32 = (() => {
  const t = Array.from({length: 8}, () => new Uint32Array(256));
  for (let n = 0; n < 256; n++) {
    let c = n;
    for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
    t[0][n] = c;
  }
  for (let n = 0; n < 256; n++) {
    for (let k = 1; k < 8; k++) t[k][n] = (t[k - 1][n] >>> 8) ^ t[0][t[k - 1][n] & 255];
  }
  const [t0, t1, t2, t3, t4, t5, t6, t7] = t;
  return (b, from, to, sum) => {
    let c = ~sum;
    let i = from;
    for (; i + 8 <= to; i += 8) {
      c ^= b[i] | (b[i + 1] << 8) | (b[i + 2] << 16) | (b[i + 3] << 24);
      c = t7[c & 255] ^ t6[(c >>> 8) & 255] ^ t5[(c >>> 16) & 255] ^ t4[c >>> 24] ^
        t3[b[i + 4]] ^ t2[b[i + 5]] ^ t1[b[i + 6]] ^ t0[b[i + 7]];
    }
    for (; i < to; i++) c = t0[(c ^ b[i]) & 255] ^ (c >>> 8);
    return ~c >>> 0;
  };
})();

// A long check gives way to the page every few hundredths of a second.
const breath = {last: 0, channel: new MessageChannel(), waiting: []};
breath.channel.port1.onmessage = () => breath.waiting.shift()();

const due = () => performance.now() - breath.last > 40;

async function giveWay() {
  await new Promise((go) => {
    breath.waiting.push(go);
    breath.channel.port2.postMessage(null);
  });
  breath.last = performance.now();
}
