// A strip on ECG paper: beats, zoom, and a caliper of two lines. The paper is an SVG of the server
// (ecg_paper.py), in millimetres; interactive elements lie over it. Changed beats are emitted as "beats"; a
// removed beat stays as "-", so that it can be restored.
const KINDS = ["N", "S", "V", "F", "Q"];
const GONE = "-";
const ZOOMS = [1, 2, 4];
const MISSING = -32768;

export default {
  props: { strip: Object, kinds: Object, editable: Boolean },
  emits: ["beats"],
  template: `
    <div class="strip-view" :style="{ '--zoom': zoom }">
      <div class="strip-tools row-of">
        <span class="row-of" role="group" aria-label="Zoom">
          <button v-for="z in zooms" :key="z" type="button" class="action small" :aria-pressed="z === zoom" @click="setZoom(z)">×{{ z }}</button>
        </span>
        <span class="hint">{{ 25 * zoom }} mm/s · {{ 10 * zoom }} mm/mV</span>
        <label v-if="strip.leads.length > 1" class="hint">Caliper on lead
          <select class="strip-lead" v-model.number="lead"><option v-for="(name, i) in strip.leads" :key="i" :value="i">{{ name }}</option></select>
        </label>
        <output class="strip-measure"><b>{{ ms }} ms</b><span v-if="bpm"> · <b>{{ bpm }} bpm</b></span> · <b>{{ mv }}</b><span v-if="strip.leads.length > 1"> in {{ strip.leads[lead] }}</span></output>
      </div>
      <div class="strip-scroll" ref="scroll" tabindex="0" role="region" :aria-label="'Strip, ' + strip.about">
        <div class="strip-paper" ref="paper" :style="{ width: mm(strip.width_mm), height: mm(strip.height_mm) }">
          <div class="strip-drawing" v-html="strip.svg"></div>
          <div class="strip-beats" role="group" :aria-label="editable ? 'Beats: arrow keys move, letters N S V F Q choose, Delete takes away' : 'Beats'">
            <template v-for="(beat, i) in beats" :key="beat.at_ms">
              <button v-if="editable" type="button" :ref="el => buttons[i] = el" :class="look(beat, i)" :style="{ left: x(beat.at_ms / 1000) }"
                :tabindex="i === current ? 0 : -1" :aria-pressed="i === chosen" :aria-label="description(beat, i)" :title="description(beat, i)"
                @focus="current = i" @click="press(i)" @keydown="key($event, i)">{{ beat.kind === GONE ? "×" : beat.kind }}</button>
              <span v-else :class="look(beat, i)" :style="{ left: x(beat.at_ms / 1000) }" role="img" :aria-label="description(beat, i)" :title="description(beat, i)">{{ beat.kind }}</span>
            </template>
          </div>
          <div class="caliper-span" aria-hidden="true" :style="spanStyle"></div>
          <div v-for="(name, i) in ['A', 'B']" :key="name" class="caliper" role="slider" tabindex="0" :aria-label="'Caliper line ' + name"
            aria-valuemin="0" :aria-valuemax="Math.round(1000 * strip.seconds)" :aria-valuenow="Math.round(1000 * lines[i])"
            :aria-valuetext="valueText(i)" :style="{ left: x(lines[i]) }"
            @keydown="move($event, i)" @pointerdown="grab($event, i)"><span aria-hidden="true">{{ name }}</span></div>
        </div>
      </div>
      <div v-if="editable" class="strip-choice row-of">
        <span class="strip-about" aria-live="polite">{{ about }}</span>
        <span class="row-of" role="group" aria-label="Class of the chosen beat">
          <button v-for="k in KINDS" :key="k" type="button" class="action small" :title="kinds[k]" :aria-label="k + ', ' + kinds[k]" :disabled="!beats[chosen]"
            :aria-pressed="beats[chosen]?.kind === k" @click="set(chosen, k)">{{ k }}</button>
          <button type="button" class="action small" :disabled="!beats[chosen]" :aria-pressed="beats[chosen]?.kind === GONE" @click="set(chosen, GONE)">Not a beat</button>
        </span>
        <button type="button" class="action small" @click="add">Add a beat at line A</button>
        <button type="button" class="action small" :disabled="!changed" @click="undo">Undo all</button>
      </div>
    </div>`,
  data() {
    return { KINDS, GONE, zooms: ZOOMS, zoom: 1, lead: 0, lines: [0, 0], beats: [], current: 0, chosen: -1 };
  },
  created() {
    this.buttons = [];
    this.start();
  },
  computed: {
    ms() {
      return Math.round(1000 * Math.abs(this.lines[1] - this.lines[0]));
    },
    bpm() {
      return this.ms >= 100 ? Math.round(60000 / this.ms) : 0;
    },
    mv() {
      const [a, b] = this.lines.map((s) => this.value(s));
      return a === null || b === null ? "– mV" : `${b - a < 0 ? "−" : "+"}${Math.abs(b - a).toFixed(2)} mV`;
    },
    samples() {
      const bytes = Uint8Array.from(atob(this.strip.samples_b64), (c) => c.charCodeAt(0));
      return new DataView(bytes.buffer);
    },
    spanStyle() {
      const [a, b] = [...this.lines].sort((p, q) => p - q);
      return { left: this.x(a), width: this.mm(25 * (b - a)) };
    },
    changed() {
      return this.beats.some((beat) => beat.kind !== beat.edge);
    },
    about() {
      const beat = this.beats[this.chosen];
      if (beat) return this.description(beat, this.chosen);
      return this.beats.length ? "Choose a beat above to change its class; choose it again for the next class." : "No beat was found in this strip.";
    },
  },
  watch: {
    "strip.id"() {
      this.start();
    },
  },
  methods: {
    start() {
      this.beats = this.strip.beats.map((beat) => ({ ...beat, edge: beat.edge ?? beat.kind }));
      this.current = 0;
      this.chosen = -1;
      this.lead = 0;
      const [a, b] = this.strip.beats;
      const middle = this.strip.seconds / 2;
      this.lines = a && b ? [a.at_ms / 1000, b.at_ms / 1000] : [middle - 0.4, middle + 0.4].map(this.inside);
    },
    mm(size) {
      return `calc(${size}mm * var(--zoom))`;
    },
    x(seconds) {
      return this.mm(this.strip.margin_mm + 25 * seconds);
    },
    inside(seconds) {
      return Math.min(this.strip.seconds, Math.max(0, seconds));
    },
    value(seconds) {
      const width = this.strip.leads.length;
      const count = this.samples.byteLength / 2 / width;
      const sample = Math.min(count - 1, Math.max(0, Math.round(seconds * this.strip.rate_hz)));
      const raw = this.samples.getInt16(2 * (sample * width + this.lead), true);
      return raw === MISSING ? null : raw * this.strip.lsb_mv;
    },
    look(beat, i) {
      return ["beat", beat.kind === GONE ? "gone" : `kind-${beat.kind}`, { changed: beat.kind !== beat.edge, chosen: i === this.chosen }];
    },
    description(beat, i) {
      const kind = beat.kind === GONE ? "not a beat" : `${beat.kind}, ${this.kinds[beat.kind]}`;
      const sure = beat.probability == null ? "" : ` (${Math.round(100 * beat.probability)} %)`;
      const edge = beat.edge === GONE ? "; not detected by the edge" : beat.kind === beat.edge ? sure : `; edge: ${beat.edge}${sure}`;
      return `Beat ${i + 1} at ${(beat.at_ms / 1000).toFixed(2)} s: ${kind}${edge}`;
    },
    valueText(i) {
      const value = this.value(this.lines[i]);
      return `${this.lines[i].toFixed(3)} s, ${value === null ? "no signal" : value.toFixed(2) + " mV"}; between the lines ${this.ms} ms, ${this.bpm} bpm, ${this.mv}`;
    },
    press(i) {
      if (i !== this.chosen) this.chosen = i;
      else this.set(i, KINDS[(KINDS.indexOf(this.beats[i].kind) + 1) % KINDS.length]);
    },
    set(i, kind) {
      if (!this.beats[i]) return;
      this.chosen = i;
      this.beats[i].kind = kind;
      this.emitBeats();
    },
    key(event, i) {
      const letter = event.key.toUpperCase();
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (KINDS.includes(letter)) this.set(i, letter);
      else if (event.key === "Delete" || event.key === "Backspace") this.set(i, GONE);
      else if (event.key === "ArrowRight" || event.key === "ArrowLeft" || event.key === "Home" || event.key === "End") this.go(i, event.key);
      else return;
      event.preventDefault();
    },
    go(i, key) {
      const last = this.beats.length - 1;
      const to = { ArrowRight: Math.min(last, i + 1), ArrowLeft: Math.max(0, i - 1), Home: 0, End: last }[key];
      this.current = this.chosen = to;
      this.buttons[to]?.focus();
    },
    add() {
      const at_ms = Math.round(1000 * this.lines[0]);
      const near = this.beats.findIndex((beat) => Math.abs(beat.at_ms - at_ms) < 100);
      if (near >= 0) {
        this.chosen = this.current = near;
        return;
      }
      this.beats.push({ at_ms, kind: "N", edge: GONE, probability: null });
      this.beats.sort((a, b) => a.at_ms - b.at_ms);
      this.chosen = this.current = this.beats.findIndex((beat) => beat.at_ms === at_ms);
      this.emitBeats();
    },
    undo() {
      this.start();
      this.emitBeats();
    },
    emitBeats() {
      this.$emit("beats", { id: this.strip.id, beats: this.beats.filter((b) => b.kind !== GONE).map((b) => ({ at_ms: b.at_ms, kind: b.kind })) });
    },
    setZoom(zoom) {
      const box = this.$refs.scroll;
      const width = this.$refs.paper.clientWidth;
      const caliper = (width * (this.strip.margin_mm + 12.5 * (this.lines[0] + this.lines[1]))) / this.strip.width_mm;
      const seen = caliper >= box.scrollLeft && caliper <= box.scrollLeft + box.clientWidth;
      const middle = (seen ? caliper : box.scrollLeft + box.clientWidth / 2) / width;
      this.zoom = zoom;
      this.$nextTick(() => { box.scrollLeft = middle * this.$refs.paper.clientWidth - box.clientWidth / 2; });
    },
    move(event, i) {
      const step = event.shiftKey ? 0.04 : Math.max(0.002, 1 / this.strip.rate_hz);
      const by = { ArrowRight: step, ArrowUp: step, ArrowLeft: -step, ArrowDown: -step, PageUp: 0.2, PageDown: -0.2 }[event.key];
      if (event.key === "Home") this.put(i, 0);
      else if (event.key === "End") this.put(i, this.strip.seconds);
      else if (by) this.put(i, this.lines[i] + by);
      else return;
      event.preventDefault();
    },
    put(i, seconds) {
      this.lines[i] = this.inside(seconds);
    },
    grab(event, i) {
      const line = event.currentTarget;
      const follow = (moved) => {
        const place = this.$refs.paper.getBoundingClientRect();
        const x_mm = ((moved.clientX - place.left) / place.width) * this.strip.width_mm;
        this.put(i, (x_mm - this.strip.margin_mm) / 25);
      };
      line.setPointerCapture(event.pointerId);
      line.addEventListener("pointermove", follow);
      const end = () => line.removeEventListener("pointermove", follow);
      line.addEventListener("pointerup", end, { once: true });
      line.addEventListener("pointercancel", end, { once: true });
      line.focus();
      event.preventDefault();
    },
  },
};
