// The one form of ZIP that a bundle has: STORE only, no times, contiguous from byte 0.
// Each header is built again from name, size, CRC and place, and compared.

const zipLocal = 30;
const zipCentral = 46;
const zipEnd = 22;
const zipMaxName = 255;

// zipName: 1 to 255 bytes of [A-Za-z0-9._/-], relative, no empty elements, "." or "..".
function zipName(s) {
  return s.length <= zipMaxName && /^[A-Za-z0-9._/-]+$/.test(s) &&
    s.split('/').every((e) => e !== '' && e !== '.' && e !== '..');
}

function zipCommon(v, at, e) {
  v.setUint16(at, 10, true);
  v.setUint32(at + 10, e.crc, true);
  v.setUint32(at + 14, e.size, true);
  v.setUint32(at + 18, e.size, true);
  v.setUint16(at + 22, e.name.length, true);
}

function zipLocalHeader(e) {
  const b = new Uint8Array(zipLocal + e.name.length);
  const v = new DataView(b.buffer);
  v.setUint32(0, 0x04034b50, true);
  zipCommon(v, 4, e);
  b.set(utf8.encode(e.name), zipLocal);
  return b;
}

function zipCentralHeader(e) {
  const b = new Uint8Array(zipCentral + e.name.length);
  const v = new DataView(b.buffer);
  v.setUint32(0, 0x02014b50, true);
  v.setUint16(4, 10, true);
  zipCommon(v, 6, e);
  v.setUint32(42, e.offset, true);
  b.set(utf8.encode(e.name), zipCentral);
  return b;
}

function zipEndRecord(entries, size, offset) {
  const b = new Uint8Array(zipEnd);
  const v = new DataView(b.buffer);
  v.setUint32(0, 0x06054b50, true);
  v.setUint16(8, entries, true);
  v.setUint16(10, entries, true);
  v.setUint32(12, size, true);
  v.setUint32(16, offset, true);
  return b;
}

// openZIP returns the entries in their order: {name, size, crc, offset, data}. A CRC
// that does not match is found on reading: readEntry.
function openZIP(bytes) {
  const size = bytes.length;
  if (size < zipEnd || size >= 2 ** 32) throw new Bad(`${size} bytes are no archive`);
  const v = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = v.getUint16(size - zipEnd + 8, true);
  const central = v.getUint32(size - zipEnd + 16, true);
  const length = size - zipEnd - central;
  if (count === 0 || length < count * zipCentral ||
    !equal(bytes.subarray(size - zipEnd), zipEndRecord(count, length, central))) {
    throw new Bad(`the last ${zipEnd} bytes are not the end record of this archive`);
  }
  const entries = [];
  const files = new Set();
  const dirs = new Set();
  let at = central;
  let offset = 0;
  for (let i = 0; i < count; i++) {
    const limit = size - zipEnd;
    const n = at + zipCentral <= limit ? v.getUint16(at + 28, true) : limit;
    if (n > zipMaxName || at + zipCentral + n > limit) throw new Bad(`central directory, entry ${i + 1}: it does not fit`);
    const name = textOf(bytes.subarray(at + zipCentral, at + zipCentral + n));
    if (name === null || !zipName(name) || !zipUnique(name, files, dirs)) {
      throw new Bad(`central directory, entry ${i + 1}: the name is not allowed or stands twice`);
    }
    const e = {name, size: v.getUint32(at + 24, true), crc: v.getUint32(at + 16, true), offset};
    if (!equal(bytes.subarray(at, at + zipCentral + n), zipCentralHeader(e))) {
      throw new Bad(`header of ${name} is not what its name, size, CRC and place make it`);
    }
    e.data = offset + zipLocal + n;
    offset = e.data + e.size;
    if (offset > central) throw new Bad(`${name}: its data reach into the central directory`);
    if (!equal(bytes.subarray(e.offset, e.data), zipLocalHeader(e))) {
      throw new Bad(`local header of ${name} is not what the central directory makes it`);
    }
    at += zipCentral + n;
    entries.push(e);
  }
  if (at !== size - zipEnd) throw new Bad('central directory is longer than its entries');
  if (offset !== central) throw new Bad(`${central - offset} bytes between the last entry and the central directory`);
  return entries;
}

// zipUnique refuses duplicates, and a file that is also a directory of another.
function zipUnique(name, files, dirs) {
  if (files.has(name) || dirs.has(name)) return false;
  for (let i = name.lastIndexOf('/'); i >= 0; i = name.lastIndexOf('/', i - 1)) {
    const dir = name.slice(0, i);
    if (dirs.has(dir)) break;
    if (files.has(dir)) return false;
    dirs.add(dir);
    if (i === 0) break;
  }
  files.add(name);
  return true;
}
