// A chart. ECharts is large: it is brought once the page stands, so that the page need not wait for it.
export default {
  props: { options: Object },
  template: `<div></div>`,
  async mounted() {
    const { echarts } = await import("nicegui-echart");
    if (!this.$el?.isConnected) return;
    this.chart = echarts.init(this.$el);
    this.sized = new ResizeObserver(() => this.chart.resize());
    this.sized.observe(this.$el);
    this.draw();
  },
  beforeUnmount() {
    this.sized?.disconnect();
    this.chart?.dispose();
  },
  methods: {
    draw() {
      if (!this.chart) return;
      const options = Vue.toRaw(this.options);
      const before = this.chart.getOption()?.series?.length;
      this.chart.setOption(options, { notMerge: before !== options.series?.length });
    },
  },
  watch: {
    options: "draw",
  },
};
