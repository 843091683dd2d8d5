// The reader study's page. Everything is in this folder and nothing leaves it: volumes arrive as
// scripts (which file:// allows), answers stay in localStorage until they are saved or posted.
'use strict';

const study = window.SYNTHVOL_STUDY;
const storageKey = `synthvol-study-${study.study}`;
const byId = (id) => document.getElementById(id);

// Window presets in Hounsfield units: [name, low, high]; MR has its whole range only.
const wholeWindow = ['Whole range', study.window[0], study.window[1]];
const presets = study.modality === 'CT'
  ? [['Lung', -1350, 150], ['Mediastinum', -160, 240], ['Bone', -450, 1050], wholeWindow]
  : [wholeWindow];
// NiiVue's slice types by plane.
const planes = { axial: 0, coronal: 1, sagittal: 2, all: 3 };
const questions = {
  'real-or-synthetic': 'Which of the two is the real scan?',
  'preference': 'Which of the two looks more like a real scan?',
};

// --- state that survives a reload ------------------------------------------------------------------

let state = JSON.parse(localStorage.getItem(storageKey) || 'null');
const save = () => localStorage.setItem(storageKey, JSON.stringify(state));

function shuffled(list) {
  const order = [...list];
  for (let i = order.length - 1; i > 0; --i) {
    const j = crypto.getRandomValues(new Uint32Array(1))[0] % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

// Draws the reader's order (within each part) and sides once, at the start.
function begin(reader, experience) {
  const parts = [...new Set(study.pairs.map((pair) => pair.part))];
  const order = parts.flatMap((part) => shuffled(study.pairs.filter((pair) => pair.part === part)));
  state = {
    format: 1, study: study.study, reader, experience, mode: study.mode,
    started: new Date().toISOString(), finished: null, reloads: 0, answers: [], draft: {},
    order: order.map((pair) => {
      const [left, right] = shuffled(pair.volumes);
      return { pair: pair.id, part: pair.part, plane: pair.plane, position: pair.position, left, right };
    }),
  };
  save();
}

const current = () => state.order[state.answers.length];

// --- volumes ---------------------------------------------------------------------------------------

const waiting = new Map();
// Each volumes/ID.js calls this with the gzipped NIfTI in base64.
window.synthvolReceive = (id, base64) => waiting.get(id)?.(base64);

async function fetchVolume(id) {
  const base64 = await new Promise((resolve, reject) => {
    waiting.set(id, resolve);
    const script = document.createElement('script');
    script.src = `volumes/${id}.js`;
    script.onload = () => script.remove();
    script.onerror = () => reject(new Error(`volumes/${id}.js cannot be read; is the folder complete?`));
    document.head.append(script);
  });
  waiting.delete(id);
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).arrayBuffer();
}

// The pair on screen and the one after it; older ones are let go.
const loaded = new Map();
function load(id) {
  if (!loaded.has(id)) loaded.set(id, fetchVolume(id));
  return loaded.get(id);
}
function keepOnly(ids) {
  for (const id of loaded.keys()) if (!ids.includes(id)) loaded.delete(id);
}

// --- the two viewers, moved together ---------------------------------------------------------------

const viewers = {};
const view = { plane: 'all', position: [0.5, 0.5, 0.5], preset: 0 };
const axisOf = { axial: 2, coronal: 1, sagittal: 0 };

async function makeViewer(side) {
  const viewer = new window.niivue.Niivue({
    isRadiologicalConvention: true, isOrientationTextVisible: study.mode === 'volume', dragAndDropEnabled: false,
    multiplanarShowRender: 0, multiplanarForceRender: false, show3Dcrosshair: false,
    // Thin, as a share of the field of view; none where nothing can be moved.
    crosshairWidthUnit: 'percent', crosshairWidth: study.mode === 'slice' ? 0 : 0.15, crosshairColor: [0.33, 0.71, 0.83, 0.6],
    isColorbar: false, backColor: [0, 0, 0, 1], logLevel: 'error', loadingText: 'loading', isSliceMM: false,
  });
  await viewer.attachToCanvas(document.querySelector(`#${side} canvas`));
  viewer.onLocationChange = () => follow(side);
  viewers[side] = viewer;
}

// A click or a drag in one viewer moves the other as well.
function follow(side) {
  if (study.mode === 'slice') return;
  const position = [...viewers[side].scene.crosshairPos];
  if (position.every((value, axis) => Math.abs(value - view.position[axis]) < 1e-6)) return;
  view.position = position;
  draw();
}

function draw() {
  const [, low, high] = presets[view.preset];
  for (const viewer of Object.values(viewers)) {
    if (!viewer.volumes.length) continue;
    viewer.setSliceType(planes[view.plane]);
    viewer.scene.crosshairPos = [...view.position];
    const volume = viewer.volumes[0];
    if (volume.cal_min !== low || volume.cal_max !== high) {
      volume.cal_min = low;
      volume.cal_max = high;
      viewer.updateGLVolume();
    }
    viewer.drawScene();
  }
  showTools();
}

function scroll(steps) {
  if (study.mode === 'slice') return;
  const axis = axisOf[view.plane] ?? 2;
  const next = view.position[axis] + steps / study.size;
  view.position[axis] = Math.min(1 - 0.5 / study.size, Math.max(0.5 / study.size, next));
  draw();
}

// Shows the pair's own plane and position: what the paper's readers saw.
function showSingleSlice() {
  const question = current();
  view.plane = question.plane;
  view.position = [0.5, 0.5, 0.5];
  view.position[axisOf[question.plane]] = question.position;
}

// --- the screen ------------------------------------------------------------------------------------

function button(parent, name, text, action) {
  const element = document.createElement('button');
  element.textContent = text;
  element.dataset.name = name;
  element.addEventListener('click', () => { action(); element.blur(); });
  byId(parent).append(element);
}

function press(parent, name) {
  for (const element of byId(parent).querySelectorAll('button')) {
    element.setAttribute('aria-pressed', String(element.dataset.name === String(name)));
  }
}

function showTools() {
  press('planes', view.plane);
  press('windows', presets[view.preset][0]);
  const axis = axisOf[view.plane];
  const slice = (value) => Math.min(study.size, Math.floor(value * study.size) + 1);
  byId('slice-text').textContent = study.mode === 'slice' || axis === undefined
    ? '' : `${view.plane}, slice ${slice(view.position[axis])} of ${study.size}`;
}

function showDraft() {
  const { draft } = state;
  const question = current();
  const rated = question.part === 'real-or-synthetic';
  for (const side of ['left', 'right']) {
    byId(side).classList.toggle('chosen', draft.side === side);
    byId(`choose-${side}`).setAttribute('aria-pressed', String(draft.side === side));
  }
  byId('difficulty').hidden = !rated;
  press('difficulty', draft.difficulty ?? '');
  byId('next').disabled = !draft.side || (rated && !draft.difficulty) || draft.loading;
}

function setDraft(change) {
  if (state.draft.loading) return;
  Object.assign(state.draft, change);
  save();
  showDraft();
}

async function showQuestion() {
  const question = current();
  if (!question) return finish();
  for (const id of ['intro', 'done']) byId(id).hidden = true;
  byId('question').hidden = false;
  byId('message').textContent = 'loading';
  byId('progress').value = state.answers.length;
  byId('progress').max = state.order.length;
  byId('progress-text').textContent = `Pair ${state.answers.length + 1} of ${state.order.length}`;
  byId('question-text').textContent = questions[question.part];
  state.draft.loading = true;
  showDraft();
  if (!viewers.left) await Promise.all(['left', 'right'].map(makeViewer));
  const next = state.order[state.answers.length + 1];
  keepOnly([question.left, question.right, next?.left, next?.right]);
  await Promise.all(['left', 'right'].map(async (side) => {
    const viewer = viewers[side];
    const buffer = await load(question[side]);
    if (viewer.volumes.length) viewer.removeVolumeByIndex(0);
    await viewer.loadFromArrayBuffer(buffer.slice(0), 'volume.nii');
  }));
  if (study.mode === 'slice') showSingleSlice(); else Object.assign(view, { plane: 'all', position: [0.5, 0.5, 0.5] });
  draw();
  byId('message').textContent = '';
  state.draft = { ...state.draft, loading: false, since: state.draft.since ?? Date.now() };
  save();
  showDraft();
  document.body.dataset.shown = question.pair;
  if (next) for (const side of ['left', 'right']) load(next[side]).catch(() => {});
}

function answer() {
  if (byId('next').disabled) return;
  const { pair, part, left, right } = current();
  const { side, difficulty, since } = state.draft;
  state.answers.push({
    pair, part, left, right, chosen: side === 'left' ? left : right,
    difficulty: part === 'real-or-synthetic' ? difficulty : null, seconds: (Date.now() - since) / 1000,
  });
  state.draft = {};
  save();
  show();
}

const record = () => JSON.stringify({ ...state, order: undefined, draft: undefined }, null, 2);

async function finish() {
  if (!state.finished) {
    state.finished = new Date().toISOString();
    save();
  }
  for (const id of ['intro', 'question']) byId(id).hidden = true;
  byId('done').hidden = false;
  const ask = 'Please save your answers as a file and send it back to the organiser.';
  byId('done-text').textContent = ask;
  if (!location.protocol.startsWith('http')) return;
  try {
    const reply = await fetch('answers', {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: record(),
    });
    if (!reply.ok) throw new Error(await reply.text());
    byId('done-text').textContent = 'Your answers have arrived at the organiser. You may close this page.';
    document.body.dataset.posted = 'true';
  } catch (error) {
    byId('done-text').textContent = `Your answers could not be sent (${error.message}). ${ask}`;
  }
}

function download() {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([record()], { type: 'application/json' }));
  link.download = `answers-${state.reader.replace(/[^\w-]+/g, '_')}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function show() {
  const fail = (error) => { byId('message').textContent = error.message; };
  showQuestion().catch(fail);
}

const keys = {
  ArrowLeft: () => setDraft({ side: 'left' }), ArrowRight: () => setDraft({ side: 'right' }),
  ArrowUp: () => scroll(1), ArrowDown: () => scroll(-1), Enter: answer,
  w: () => { view.preset = (view.preset + 1) % presets.length; draw(); },
  p: () => { showSingleSlice(); draw(); },
  a: () => setPlane('axial'), c: () => setPlane('coronal'), s: () => setPlane('sagittal'), m: () => setPlane('all'),
};

function setPlane(plane) {
  if (study.mode === 'slice') return;
  view.plane = plane;
  draw();
}

function onKey(event) {
  if (byId('question').hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const rated = current().part === 'real-or-synthetic';
  if (/^[1-5]$/.test(key)) {
    if (rated) setDraft({ difficulty: Number(key) });
  } else if (keys[key]) {
    keys[key]();
  } else {
    return;
  }
  // NiiVue listens to keys as well; here they are the page's.
  event.preventDefault();
  event.stopImmediatePropagation();
}

function wire() {
  for (const plane of Object.keys(planes)) {
    button('planes', plane, plane === 'all' ? 'Three planes' : plane[0].toUpperCase() + plane.slice(1), () => setPlane(plane));
  }
  presets.forEach(([name], index) => button('windows', name, name, () => { view.preset = index; draw(); }));
  for (let level = 1; level <= 5; ++level) button('difficulty', level, String(level), () => setDraft({ difficulty: level }));
  for (const side of ['left', 'right']) byId(`choose-${side}`).addEventListener('click', () => setDraft({ side }));
  byId('next').addEventListener('click', answer);
  byId('download').addEventListener('click', download);
  window.addEventListener('keydown', onKey, { capture: true });
  document.querySelector('main').addEventListener('wheel', (event) => {
    event.preventDefault();
    event.stopImmediatePropagation();
    scroll(event.deltaY < 0 ? 1 : -1);
  }, { capture: true, passive: false });
  if (study.mode === 'slice') {
    // The paper's mode: one slice, no scrolling; clicks must not move it either.
    for (const element of document.querySelectorAll('.volume-only')) element.hidden = true;
    for (const name of ['mousedown', 'mousemove', 'mouseup', 'touchstart', 'touchmove', 'dblclick', 'contextmenu']) {
      document.querySelector('main').addEventListener(name, (event) => event.stopImmediatePropagation(), { capture: true });
    }
  }
  byId('intro-count').textContent = study.pairs.length;
  byId('intro-mode').textContent = study.mode === 'slice'
    ? 'Each pair shows one slice, in the same plane and position on both sides.'
    : 'You can scroll through both volumes in three planes; the two sides move together.';
  byId('start-form').addEventListener('submit', (event) => {
    event.preventDefault();
    begin(byId('reader').value.trim(), byId('experience').value === '' ? null : Number(byId('experience').value));
    show();
  });
}

wire();
if (state) {
  state.reloads += 1;
  state.draft.loading = false;
  save();
  show();
} else {
  byId('intro').hidden = false;
}
