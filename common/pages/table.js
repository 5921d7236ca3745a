// A table: text only, so what a node sent can be nothing but text. Stacks on narrow screens (style.css).
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const FAR_S = 3650 * 86400; // a recording's time: shown as a date, as is a time in the future

export default {
  props: { caption: String, columns: Array, rows: Array, empty_text: String, empty_hint: String },
  emits: ["pressed"],
  template: `
    <div class="table-box" tabindex="0" role="region" :aria-label="caption">
      <table v-if="rows?.length">
        <caption class="only-read">{{ caption }}</caption>
        <thead><tr>
          <th v-for="c in columns" :key="c.name" scope="col" :class="c.kind + '-cell'" :title="c.hint || null">{{ c.label }}</th>
        </tr></thead>
        <tbody>
          <tr v-for="row in rows" :key="row.id">
            <td v-for="c in columns" :key="c.name" :class="c.kind + '-cell'" :data-label="c.label">
              <a v-if="c.kind === 'link' && row[c.name + '_href']" :href="row[c.name + '_href']">{{ row[c.name] }}</a>
              <span v-else-if="c.kind === 'badge' && row[c.name]" class="badge" :class="row[c.name + '_tone']">{{ row[c.name] }}</span>
              <span v-else-if="c.kind === 'ago'"><time :title="full(row[c.name])">{{ ago(row[c.name]) }}</time><span v-if="row[c.name + '_note']" class="hint time-note"> {{ row[c.name + '_note'] }}</span></span>
              <span v-else-if="c.kind === 'bar' && row[c.name] != null" class="share">
                <span class="share-line" aria-hidden="true"><span :style="{ width: share(row[c.name]) }" :class="row[c.name + '_tone']"></span></span>
                {{ row[c.name + '_text'] }}
              </span>
              <button v-else-if="c.kind === 'action' && row[c.name]" type="button" class="action plain small"
                :aria-label="row[c.name] + ' ' + (row.about || row.id)"
                @click="$emit('pressed', { id: row.id, name: c.name })">{{ row[c.name] }}</button>
              <code v-else-if="c.kind === 'code'">{{ row[c.name] }}</code>
              <template v-else-if="!['link', 'badge', 'bar', 'action'].includes(c.kind) || c.kind === 'link'">{{ row[c.name] }}</template>
            </td>
          </tr>
        </tbody>
      </table>
      <p v-else-if="!rows" class="hint waiting">Loading…</p>
      <div v-else class="empty"><p class="empty-text">{{ empty_text }}</p><p class="hint">{{ empty_hint }}</p></div>
    </div>`,
  data() {
    return { now: Date.now() };
  },
  mounted() {
    this.clock = setInterval(() => { this.now = Date.now(); }, 1000);
  },
  unmounted() {
    clearInterval(this.clock);
  },
  methods: {
    ago(ms) {
      if (!ms) return "–";
      const seconds = Math.max(0, Math.round((this.now - ms) / 1000));
      if (seconds > FAR_S || ms - this.now > 60000) return new Date(ms).toISOString().slice(0, 16).replace("T", " ") + " UTC";
      for (const [size, unit] of UNITS) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
      return "now";
    },
    full(ms) {
      return ms ? new Date(ms).toISOString() : null;
    },
    share(value) {
      return `${Math.round(100 * Math.min(1, Math.max(0, value)))}%`;
    },
  },
};
