// The auditor's policy, C2SP tlog-policy: logs, witnesses, and the quorum of witnesses.

const maxPolicy = 1 << 20;

// parsePolicy returns {logs, witnesses, quorum}; quorum is null for "quorum none". It is
// strict: unknown lines, names that are not defined before, duplicate names or keys, a
// name that is a member twice, and a missing or second quorum throw Bad.
function parsePolicy(s) {
  if (byteLength(s) > maxPolicy) throw new Bad(`policy: over ${maxPolicy} bytes`);
  if (/[\x00-\x08\x0b-\x1f\x7f]/.test(s)) throw new Bad('policy: control character');
  if (s !== '' && !s.endsWith('\n')) throw new Bad('policy: the last line does not end');
  const p = {logs: [], witnesses: [], quorum: null, hasQuorum: false, groups: new Map(), keys: new Set()};
  s.split('\n').forEach((line, i) => {
    const words = line.split(/[ \t]+/).filter((w) => w !== '');
    if (words.length === 0 || words[0][0] === '#') return;
    const read = policyLines[words[0]];
    try {
      if (!Object.hasOwn(policyLines, words[0])) throw new Bad(`unknown line ${quote(words[0])}`);
      read(p, words.slice(1));
    } catch (err) {
      if (!(err instanceof Bad)) throw err;
      throw new Bad(`policy, line ${i + 1}: ${err.message}`);
    }
  });
  if (!p.hasQuorum) throw new Bad('policy: no quorum line');
  return p;
}

const policyLines = {
  log(p, args) {
    if (args.length < 1 || args.length > 2) throw new Bad('must be: log <vkey> [<url>]');
    p.logs.push(policyKey(p, 'log', args[0], algEd25519));
  },

  witness(p, args) {
    if (args.length < 2 || args.length > 3) throw new Bad('must be: witness <name> <vkey> [<url>]');
    const key = policyKey(p, 'witness', args[1], algCosignature);
    policyDefine(p, args[0], {key, members: []});
    p.witnesses.push({name: args[0], key});
  },

  group(p, args) {
    if (args.length < 3) throw new Bad('must be: group <name> all|any|<k> <name>…');
    const [name, threshold, ...names] = args;
    const members = names.map((m) => {
      const g = p.groups.get(m);
      if (g === undefined) throw new Bad(`member ${quote(m)} is not defined before`);
      if (g.used) throw new Bad(`${quote(m)} is a member twice`);
      g.used = true;
      return g;
    });
    const need = threshold === 'any' ? 1 : threshold === 'all' ? members.length : decimal(threshold);
    if (need === null || need < 1 || need > members.length) {
      throw new Bad(`threshold ${quote(threshold)} is not all, any or 1 to ${members.length}`);
    }
    policyDefine(p, name, {members, need});
  },

  quorum(p, args) {
    if (args.length !== 1) throw new Bad('must be: quorum <name>');
    if (p.hasQuorum) throw new Bad('a second quorum');
    p.hasQuorum = true;
    if (args[0] === 'none') return;
    p.quorum = p.groups.get(args[0]) ?? null;
    if (p.quorum === null) throw new Bad(`${quote(args[0])} is not defined before`);
  },
};

function policyKey(p, role, text, alg) {
  const key = parseKey(text);
  if (key.alg !== alg) throw new Bad(`the key of a ${role} must have type ${alg}, not ${key.alg}`);
  const id = role + hex(key.public);
  if (p.keys.has(id)) throw new Bad(`the same public key for a second ${role}`);
  p.keys.add(id);
  return key;
}

function policyDefine(p, name, group) {
  if (name === 'none' || p.groups.has(name)) throw new Bad(`name ${quote(name)} is taken`);
  p.groups.set(name, group);
}

// quorumMet reports whether cosignatures by these keys, given by their texts, are enough.
function quorumMet(policy, by) {
  const met = (g) => (g.members.length === 0 ? by.has(g.key.text) : g.members.filter(met).length >= g.need);
  return policy.quorum === null || met(policy.quorum);
}

// parseTrust reads what the auditor knows: keys of logs, one text each, a policy and a
// checkpoint that was kept.
async function parseTrust({keys = [], policy = null, since = null}) {
  const trust = {keys: new Map(), policy: null, since: null, kept: null};
  const add = (k) => {
    if (k.alg !== algEd25519) throw new Bad(`key ${k.name} is of a witness: it belongs in a policy`);
    if (!originForm.test(k.name)) throw new Bad(`key ${k.name}: its name is not the origin of a log`);
    const old = trust.keys.get(k.name);
    if (old !== undefined && old.text !== k.text) throw new Bad(`two keys for the log ${k.name}`);
    trust.keys.set(k.name, k);
  };
  for (const k of keys) add(parseKey(k));
  if (policy !== null) {
    trust.policy = parsePolicy(policy);
    // A policy may list logs of others; they are of no use here.
    for (const k of trust.policy.logs) if (originForm.test(k.name)) add(k);
  }
  if (since !== null) {
    const note = utf8.encode(since);
    trust.kept = parseNote(note);
    const k = trust.keys.get(trust.kept.origin);
    if (k !== undefined) trust.since = await verifyNote(note, k);
  }
  return trust;
}
