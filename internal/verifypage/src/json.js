// JSON as sealed values may have it, and as RFC 8785 writes strings.

const maxDepth = 128; // of arrays and objects in a sealed value

const plainJSONString = /^"[ !#-[\]-~]*"$/;
const jsonNumber = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const jsonSpace = /[ \t\r\n]*/y;
const stringStop = /["\\\x00-\x1f]/g;

// JSONReader reads one JSON text (RFC 8259), strictly: no lone surrogates, no object
// with a name twice, depth at most 128. Numbers may have any size and precision.
// What it reads goes to the handler that is given, if there is one: value(name, kind,
// text) for each member of the outermost object.
class JSONReader {
  constructor(s) {
    this.s = s;
    this.at = 0;
  }

  space() {
    const c = this.s.charCodeAt(this.at);
    if (c > 0x20 || c !== c) return; // nearly always
    jsonSpace.lastIndex = this.at;
    jsonSpace.test(this.s);
    this.at = jsonSpace.lastIndex;
  }

  fail(what) {
    throw new Bad(`JSON value, character ${this.at}: ${what}`);
  }

  whole() {
    this.space();
    const v = this.value(0);
    this.space();
    if (this.at !== this.s.length) this.fail('more than one value');
    return v;
  }

  // value reads a value and returns its kind: what it begins with.
  value(depth) {
    const c = this.s[this.at];
    switch (c) {
      case '"':
        this.string();
        return c;
      case '{':
      case '[':
        if (depth === maxDepth) this.fail(`nested more than ${maxDepth} deep`);
        this.at++;
        if (c === '[') this.items(depth + 1);
        else this.members(depth + 1);
        return c;
      case 't':
        return this.word('true');
      case 'f':
        return this.word('false');
      case 'n':
        return this.word('null');
      default:
        jsonNumber.lastIndex = this.at;
        if (!jsonNumber.test(this.s)) this.fail('expected a value');
        this.at = jsonNumber.lastIndex;
        return '0';
    }
  }

  word(w) {
    if (!this.s.startsWith(w, this.at)) this.fail('expected a value');
    this.at += w.length;
    return w;
  }

  // separator reads a comma, or the end and then returns false.
  separator(end, first) {
    this.space();
    const c = this.s[this.at];
    if (c === end) {
      this.at++;
      return false;
    }
    if (!first) {
      if (c !== ',') this.fail(`expected , or ${end}`);
      this.at++;
      this.space();
    }
    return true;
  }

  items(depth) {
    for (let first = true; this.separator(']', first); first = false) this.value(depth);
  }

  members(depth) {
    const names = new Set();
    for (let first = true; this.separator('}', first); first = false) {
      const name = this.string();
      if (names.has(name)) this.fail('a name stands twice');
      names.add(name);
      this.space();
      if (this.s[this.at] !== ':') this.fail('expected a colon');
      this.at++;
      this.space();
      this.value(depth);
    }
  }

  // string reads a string and returns its text.
  string() {
    if (this.s[this.at] !== '"') this.fail('expected a string');
    const from = ++this.at;
    let out = null; // null while there are no escapes
    let start = from;
    for (;;) {
      stringStop.lastIndex = this.at;
      const m = stringStop.exec(this.s);
      if (m === null) this.fail('a string does not end');
      this.at = m.index;
      if (m[0] === '"') {
        this.at++;
        return (out ?? '') + this.s.slice(start, m.index);
      }
      if (m[0] !== '\\') this.fail('control character in a string');
      out = (out ?? '') + this.s.slice(start, m.index) + this.escape();
      start = this.at;
    }
  }

  escape() {
    const short = '"\\/bfnrt'.indexOf(this.s[this.at + 1] ?? ' ');
    if (short >= 0) {
      this.at += 2;
      return '"\\/\b\f\n\r\t'[short];
    }
    const unit = this.unit();
    if (unit < 0xd800 || unit > 0xdfff) return String.fromCharCode(unit);
    const low = unit < 0xdc00 ? this.unit() : 0;
    if (low < 0xdc00 || low > 0xdfff) this.fail('a lone surrogate');
    return String.fromCharCode(unit, low);
  }

  unit() {
    const m = /^\\u([0-9a-fA-F]{4})/.exec(this.s.slice(this.at, this.at + 6));
    if (m === null) this.fail('no such escape');
    this.at += 6;
    return parseInt(m[1], 16);
  }
}

// checkJSON throws where a text is not one JSON value that may be sealed.
function checkJSON(s) {
  if (!plainJSONString.test(s)) new JSONReader(s).whole();
}

// quote writes a string as RFC 8785 section 3.2.2.2 says.
function quote(s) {
  return '"' + s.replace(/["\\\x00-\x1f]/g, (c) => {
    const at = '"\\\b\t\n\f\r'.indexOf(c);
    return at >= 0 ? '\\' + '"\\btnfr'[at] : '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0');
  }) + '"';
}

// LineReader walks the only order of tokens that a canonical line can have.
class LineReader {
  constructor(s) {
    this.s = s;
    this.at = 0;
  }

  lit(text) {
    if (!this.s.startsWith(text, this.at)) throw new Bad('not canonical');
    this.at += text.length;
  }

  // plain reads a string without escapes up to and with its closing quote.
  plain() {
    const end = this.s.indexOf('"', this.at);
    const v = end < 0 ? '\\' : this.s.slice(this.at, end);
    if (/[\\\x00-\x1f]/.test(v)) throw new Bad('not canonical');
    this.at = end + 1;
    return v;
  }

  count() {
    const form = /0|[1-9][0-9]{0,15}/y;
    form.lastIndex = this.at;
    const m = form.exec(this.s);
    if (m === null || Number(m[0]) > maxInt) throw new Bad('not canonical');
    this.at = form.lastIndex;
    return Number(m[0]);
  }

  // text reads a string with the escapes of RFC 8785 and no others.
  text() {
    let out = '';
    let start = this.at;
    for (;;) {
      stringStop.lastIndex = this.at;
      const m = stringStop.exec(this.s);
      if (m === null) throw new Bad('not canonical');
      out += this.s.slice(start, m.index);
      this.at = m.index + 1;
      if (m[0] === '"') return out;
      if (m[0] !== '\\') throw new Bad('not canonical');
      const short = '"\\btnfr'.indexOf(this.s[this.at] ?? ' ');
      if (short >= 0) {
        out += '"\\\b\t\n\f\r'[short];
        this.at++;
      } else {
        const long = /^u00([01][0-9a-f])/.exec(this.s.slice(this.at, this.at + 5));
        const c = long === null ? '"' : String.fromCharCode(parseInt(long[1], 16));
        if (quote(c) !== `"\\${long?.[0]}"`) throw new Bad('not canonical');
        out += c;
        this.at += 5;
      }
      start = this.at;
    }
  }

  end() {
    if (this.at !== this.s.length) throw new Bad('not canonical');
  }
}
