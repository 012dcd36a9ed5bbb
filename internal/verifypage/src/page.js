// The page: what is asked, and the answer for people.

const maxFile = 2 ** 30; // what fits a browser's memory together with all else
const shownFindings = 100;

const verdictWords = {
  'VERIFIED': ['verified', 'Verified', 'Every check was made and passed.'],
  'VERIFIED-WITH-LIMITS': ['limits', 'Verified, with limits', 'Nothing is wrong with what could be checked. What could not be checked is said below.'],
  'FAILED': ['failed', 'Failed', 'This bundle does not pass. Do not rely on it: what is wrong is said below.'],
  'COULD-NOT-CHECK': ['unchecked', 'Could not be checked', 'This is no verdict about the bundle: what is missing is said below.'],
};

// completeWords are check 9, by profile.
const completeWords = {
  run: 'No record of the run is missing, from its first to its newest summary, nor any between later ones that are here.',
  period: 'No record is missing that the log recorded in the period.',
  log: 'No record is missing of any run in the log.',
};

// wordsOf looks up what a bundle says of itself, which may be the name of anything.
const wordsOf = (words, name) => (Object.hasOwn(words, String(name)) ? words[name] : '');

const profileWords = {run: 'one run', period: 'a period', log: 'a whole log'};

// checkWords are checks 1 to 11, with the codes that belong to each.
const checkWords = [
  ['The file has the one form of a bundle, and exactly the files that its manifest lists.', 'E_CONTAINER', 'U_FORMAT', 'U_PROFILE'],
  ['Every file is the one that the manifest lists, by its SHA-256 digest.', 'E_FILE'],
  ['Every checkpoint is signed with the key that you gave.', 'E_LOGSIG', 'U_NO_KEY', 'W_NO_KEY'],
  ['Every record is well formed, at its place, and stated by one who may state it.', 'E_LEAF'],
  ['Every record is in the signed tree of its log.', 'E_INCLUSION'],
  ['The witnesses of your policy have seen the log.', 'E_QUORUM', 'W_NO_QUORUM'],
  ['The times of others agree with the times of the records.', 'E_TIME', 'W_NO_TIME', 'W_TIME_UNCHECKED'],
  ['The log shows one history: it extends every other signed state, and the one that you kept.', 'E_FORK', 'U_SINCE', 'W_PREDECESSOR'],
  ['No record is missing of what the bundle is about.', 'E_GAP', 'W_OPEN'],
  ['What is disclosed is what was recorded, and what is not disclosed is said to be withheld, erased or expired.', 'E_COMMIT', 'E_UNACCOUNTED'],
  ['The making of this bundle is itself recorded in the log.', 'E_RECEIPT'],
];

const stateWords = {passed: '✓ passed', limited: '△ limited', unchecked: '? not checked', failed: '✗ failed', skipped: '– not reached'};
const states = {E: 'failed', U: 'unchecked', W: 'limited'};

// make builds an element. Texts become text nodes: nothing of a bundle is ever markup.
function make(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children.filter((c) => c !== null && c !== ''));
  return e;
}

const code = (s) => make('code', {}, String(s));

function pairs(list) {
  const dl = make('dl');
  for (const [name, value] of list) {
    if (value === undefined || value === null || value === '') continue;
    dl.append(make('dt', {}, name), make('dd', {}, ...[value].flat()));
  }
  return dl;
}

const many = (n, one, more) => `${n.toLocaleString('en')} ${n === 1 ? one : more}`;

// stateOf says how a check ended: the worst of its findings, or whether it was reached.
function stateOf(result, number) {
  const of = (n) => result.findings.filter((f) => checkWords[n].includes(f.code)).map((f) => f.code[0]);
  const letters = of(number);
  for (const letter of ['E', 'U', 'W']) if (letters.includes(letter)) return states[letter];
  for (let n = 0; n < Math.min(number, 5); n++) if (of(n).some((letter) => letter !== 'W')) return 'skipped';
  return 'passed';
}

function showVerdict(result) {
  const [style, title, words] = verdictWords[result.verdict];
  return make('div', {class: `verdict ${style}`},
    make('h2', {}, title), make('p', {}, words), make('p', {class: 'code'}, 'Verdict: ', code(result.verdict)));
}

function showBundle(result, file) {
  const {scope} = result;
  return make('div', {}, make('h3', {}, result.verdict.startsWith('VERIFIED') ? 'The bundle' : 'The bundle, as it says of itself'), pairs([
    ['File', [make('bdi', {}, file.name), ` (${many(file.size, 'byte', 'bytes')})`]],
    ['SHA-256 of the file', code(file.digest)],
    ['Holds', wordsOf(profileWords, result.profile)],
    ['Tenant', scope && code(scope.tenant_id)],
    ['Run', scope?.run_id && code(scope.run_id)],
    ['Period', scope?.from && [code(scope.from), ' up to ', code(scope.until)]],
    ['Kinds disclosed', scope?.kind && code(scope.kind)],
    ['Export', result.export_id && code(result.export_id)],
    ['Digest of manifest.json', result.manifest && code(result.manifest)],
    ['Checked at', new Date().toISOString().slice(0, 19) + 'Z, by the clock of this computer'],
  ]));
}

function showChecks(result, asked) {
  const list = make('ol', {class: 'checks'});
  checkWords.forEach(([words], number) => {
    const state = stateOf(result, number);
    const claim = number === 8 ? wordsOf(completeWords, result.profile) || words : words;
    const note = number === 7 && state === 'passed' && !asked.since ? ' (You gave no checkpoint of an earlier time.)' : '';
    list.append(make('li', {}, make('span', {class: `state ${state}`}, stateWords[state]), make('span', {}, `${number + 1}. ${claim}${note}`)));
  });
  return make('div', {}, make('h3', {}, 'What was checked'),
    make('p', {class: 'hint'}, 'Each line is a claim, and how its check ended. What limits or contradicts a claim stands under Findings.'), list);
}

function placeOf(f) {
  const parts = [];
  if (f.log) parts.push(`log ${f.log}`);
  if (f.dir) parts.push(f.dir);
  if (f.to > 0) parts.push(f.to === f.from + 1 ? `leaf ${f.from}` : `leaves ${f.from} to ${f.to - 1}`);
  if (f.path) parts.push(f.path);
  return parts.join(' · ');
}

function showFindings(result) {
  const {findings, counts} = result;
  if (findings.length === 0) return '';
  const rank = (f) => 'EUW'.indexOf(f.code[0]);
  const list = make('ul', {class: 'findings'});
  for (const f of [...findings].sort((a, b) => rank(a) - rank(b)).slice(0, shownFindings)) {
    list.append(make('li', {class: states[f.code[0]]},
      make('p', {}, make('strong', {}, code(f.code)), ' ', make('bdi', {}, f.message)),
      make('p', {class: 'place'}, placeOf(f)),
      f.expected || f.found ? pairs([['Expected', f.expected && code(f.expected)], ['Found', f.found && code(f.found)]]) : ''));
  }
  const more = findings.length - Math.min(findings.length, shownFindings) + (counts.findings_not_listed ?? 0);
  return make('div', {}, make('h3', {}, 'Findings'), list, more > 0 ? make('p', {}, `${many(more, 'more finding is', 'more findings are')} not shown.`) : '');
}

function showLogs(result) {
  const box = make('div', {}, make('h3', {}, result.logs.length === 1 ? 'The log' : 'The logs'));
  for (const l of result.logs) {
    box.append(pairs([
      [l.system ? 'System log' : 'Log', [code(l.origin), ` (${l.dir})`]],
      ['Size', `${many(l.size, 'leaf', 'leaves')}${l.closed ? ', closed' : ''}`],
      ['Records checked', l.checked ? many(l.records, 'record', 'records') : 'none'],
      ['Recorded', l.checked && l.first_at && [code(l.first_at), ' to ', code(l.last_at)]],
      ['Root hash', l.root && code(l.root)],
      ['Your key', l.key && code(l.key)],
      ['Seen by', l.witnesses.length > 0 && l.witnesses.map((w) => make('div', {}, make('bdi', {}, w.name), ` at ${w.time.slice(0, 19)}Z`))],
    ].map(([name, value]) => [name, value || ''])));
  }
  return result.logs.length > 0 ? box : '';
}

function showContent(result) {
  const {run, period, counts} = result;
  if (counts.leaves === undefined) return '';
  const withheld = Object.entries(counts).filter(([name]) => name.startsWith('withheld_'))
    .map(([name, n]) => `${n.toLocaleString('en')} ${name.slice(9).replace('_', ' ')}`);
  const kindCounts = [...kinds.keys()].filter((k) => counts[k] > 0).map((k) => `${counts[k].toLocaleString('en')} ${k}`);
  return make('div', {}, make('h3', {}, 'What the bundle holds'), pairs([
    ['Records', `${counts.leaves.toLocaleString('en')}: ${kindCounts.join(', ')}`],
    ['Sealed fields', `${(counts.disclosed ?? 0).toLocaleString('en')} disclosed${withheld.length > 0 ? '; not disclosed: ' + withheld.join(', ') : ''}`],
    ['Of the run', run && many(run.records, 'record', 'records')],
    ['The run', run && (run.ended ? `ended; revision ${run.revision} counts ${many(run.record_count, 'record', 'records')}` : 'its end is not recorded here')],
    ['Later records', run && run.later_count > 0 && many(run.later_count, 'record came', 'records came') + ' after the newest summary of the run'],
    ['Of the period', period && many(period.records, 'record', 'records')],
  ].map(([name, value]) => [name, value || ''])));
}

function showNotProven(result) {
  if (result.not_proven.length === 0) return '';
  return make('div', {}, make('h3', {}, 'What is not proven'),
    make('ul', {}, ...result.not_proven.map((s) => make('li', {}, s + '.'))));
}

function show(result, file, asked) {
  const print = make('button', {type: 'button', class: 'plain'}, 'Print this result');
  print.addEventListener('click', () => window.print());
  const out = document.getElementById('result');
  out.replaceChildren(showVerdict(result), make('p', {class: 'actions'}, print), showFindings(result), showBundle(result, file),
    showChecks(result, asked), showLogs(result), showContent(result), showNotProven(result),
    make('details', {class: 'machine'}, make('summary', {}, 'For machines'), make('pre', {}, JSON.stringify(result, null, 1))));
  out.focus();
}

function showError(title, message) {
  const out = document.getElementById('result');
  out.replaceChildren(make('div', {class: 'verdict unchecked'}, make('h2', {}, title), make('p', {}, message)));
  out.focus();
}

const field = (id) => document.getElementById(id);

// pasted is a text as a strict reader wants it: its last line ends, and none follows.
const pasted = (id) => (field(id).value.trim() === '' ? null : field(id).value.trim() + '\n');

async function submit() {
  const chosen = field('bundle').files[0];
  if (chosen === undefined) return showError('No bundle yet', 'Choose a bundle first.');
  if (chosen.size > maxFile) {
    return showError('Too large for a browser', 'The bundle has over 1 GiB. The command runledger verify checks bundles of any size.');
  }
  const say = (stage, done, total) => {
    field('progress').textContent = `Checking ${stage}: ${Math.floor((100 * done) / Math.max(total, 1))} %`;
  };
  const asked = {
    keys: field('keys').value.split('\n').map((s) => s.trim()).filter((s) => s !== '' && s[0] !== '#'),
    policy: pasted('policy'), since: pasted('since'),
  };
  say('the file', 0, 1);
  await giveWay();
  const bytes = new Uint8Array(await chosen.arrayBuffer());
  const result = await runledgerVerify(bytes, asked, say);
  show(result, {name: chosen.name, size: chosen.size, digest: hex(await webSHA256(bytes))}, asked);
}

function start() {
  field('form').addEventListener('submit', async (event) => {
    event.preventDefault();
    field('check').disabled = true;
    field('result').replaceChildren();
    try {
      await submit();
    } catch (err) {
      const known = err instanceof Bad;
      showError(known ? 'Could not be checked' : 'The check broke off',
        known ? err.message : `This page failed, which says nothing about the bundle: ${err.message}`);
    } finally {
      field('check').disabled = false;
      field('progress').textContent = '';
    }
  });
  const drop = field('drop');
  for (const name of ['dragover', 'dragleave', 'drop']) {
    // The whole window, so that a file dropped beside the field does not replace the page.
    window.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle('over', name === 'dragover');
      if (name === 'drop' && event.dataTransfer.files.length > 0) field('bundle').files = event.dataTransfer.files;
    });
  }
  for (const id of ['policy', 'since']) {
    field(`${id}-file`).addEventListener('change', async () => {
      const [chosen] = field(`${id}-file`).files;
      if (chosen !== undefined && chosen.size <= maxPolicy) field(id).value = await chosen.text();
    });
  }
}

if (typeof document !== 'undefined') start();

// For scripts and tests. parts are the readers of the formats, which take and refuse the
// same as those of the command.
globalThis.runledgerVerify = Object.assign(runledgerVerify, {
  parts: {parseLeaf, parseKey, parseNote, parsePolicy, parseManifest, parseDisclosure, parseWithheld, parseRecord, parseTargets, parseProof, parseConsistency, checkJSON, serverOnly},
});
