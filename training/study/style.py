"""The page's style: ink on paper, light or dark as the reader's system, down to a telephone."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fff; --panel: #f6f8fa; --rule: #d8dee4; --edge: #848d97;
  --ink: #1f2328; --soft: #59636e;
  --c0: #0f7b6c; --c1: #b85713; --c2: #7a4fb5; --c3: #2264b5; --c4: #b02a6b; --c5: #66700a;
  --base: #6e7781;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0d1117; --panel: #151b23; --rule: #2b323b; --edge: #6b7480;
    --ink: #f0f6fc; --soft: #9aa3ad;
    --c0: #3fb8a5; --c1: #e0823d; --c2: #b394ec; --c3: #6aa8f0; --c4: #ee7fb0; --c5: #b9c455;
    --base: #8b949e;
  }
}
*, *::before, *::after { box-sizing: border-box }
body {
  max-width: 68rem; margin: 0 auto;
  padding: clamp(1rem, 4vw, 2.5rem) clamp(1rem, 4vw, 2rem) 3rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.5 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: break-word;
}
h1, h2, h3, h4, p, ul, dl, dd, figure { margin: 0; padding: 0 }
h1 { font-size: 1.75rem; line-height: 1.2; font-weight: 650; letter-spacing: -.015em }
h2 { font-size: 1.375rem; line-height: 1.25; font-weight: 650; letter-spacing: -.01em }
h3 { font-size: 1.0625rem; font-weight: 650; margin: 2.5rem 0 .625rem }
h4 { font-size: .9375rem; font-weight: 650 }
code { font: .875em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
a { color: inherit; text-underline-offset: .2em; text-decoration-color: var(--edge) }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin-top: .75rem }
section { margin-top: 3rem; padding-top: 2rem; border-top: 1px solid var(--rule) }
.soft, .note, figcaption p { color: var(--soft); font-size: .875rem }
.lead { font-size: 1.125rem; margin-top: 1rem; max-width: 50rem; text-wrap: pretty }
.prose { margin-top: .75rem; max-width: 50rem; display: grid; gap: .5rem; padding-left: 1.1rem }
.callout {
  margin-top: 1.25rem; padding: .75rem 1rem; border-left: 3px solid var(--c1);
  background: var(--panel); font-size: .9375rem;
}
.callout ul { margin-top: .25rem; padding-left: 1.1rem; gap: .125rem }
.callout .prose { max-width: none }

.figures { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin-top: 1.5rem }
.figures + .prose { margin-top: 1.25rem }
.figures dt { font-size: .875rem; font-weight: 550 }
.figures dd { font-size: 2rem; line-height: 1.2; font-weight: 600; letter-spacing: -.025em;
  font-variant-numeric: tabular-nums }
.figures dd small { display: block; font-size: .8125rem; font-weight: 400; letter-spacing: 0;
  color: var(--soft) }

.c0 { --mine: var(--c0) } .c1 { --mine: var(--c1) } .c2 { --mine: var(--c2) }
.c3 { --mine: var(--c3) } .c4 { --mine: var(--c4) } .c5 { --mine: var(--c5) }
.base { --mine: var(--base) } .teacher { --mine: var(--ink) }
.legend { display: flex; flex-wrap: wrap; gap: .125rem 1rem; list-style: none;
  font-size: .8125rem; color: var(--soft); margin-top: .25rem }
.legend li::before { content: ""; display: inline-block; width: .625rem; height: .625rem;
  border-radius: 50%; background: var(--mine); margin-right: .4rem }

.bars { margin-top: .75rem }
.bar { display: grid; grid-template-columns: minmax(7rem, 14rem) minmax(0, 1fr) 13.5rem;
  gap: 0 .75rem; align-items: center; font-size: .875rem; line-height: 1.3 }
.bar .end { font-variant-numeric: tabular-nums; white-space: nowrap }
.bar .bounds, .scale .end { color: var(--soft) }
.scale { font-size: .8125rem; align-items: start }
.scale .end { white-space: normal }
.track { display: block; width: 100%; height: 1.625rem; overflow: visible }
.bar:not(.scale):nth-child(odd) .track { background: var(--panel) }
.scale .track { height: 1.125rem }
.whisker { stroke: var(--mine); stroke-width: 2 }
.seed { stroke: var(--mine); stroke-width: 1; opacity: .6 }
.rule { stroke: var(--edge); stroke-width: 1; stroke-dasharray: 4 3; fill: none }
.many { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr));
  gap: 1.5rem 2.5rem }
.many .bar { grid-template-columns: minmax(0, 8.5rem) minmax(0, 1fr) 3.5rem }
.many .bounds, .many .scale .end { display: none }

.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr));
  gap: 2.25rem 2.5rem; margin-top: 2.5rem }
figcaption { margin-bottom: .5rem }
svg text { font: 12px ui-sans-serif, system-ui, sans-serif; fill: var(--soft) }
.chart { display: block; width: 100%; height: auto }
.chart .name { fill: var(--ink) }
.grid { stroke: var(--rule) }
.axis { stroke: var(--edge) }
.line { fill: none; stroke: var(--mine); stroke-width: 2; stroke-linejoin: round }
.line.base, .line.teacher { stroke-dasharray: 5 3 }
.dot { fill: var(--mine); stroke: var(--paper); stroke-width: 1.5 }
.ring { fill: var(--paper); stroke: var(--mine); stroke-width: 2 }
.lead-line { stroke: var(--edge); stroke-width: .75 }
.faint { opacity: .35 }

/* A shade at the right edge while there is more to scroll to. */
.wide { overflow-x: auto; margin-top: .75rem; background:
  linear-gradient(to left, var(--paper) 1.5rem, transparent) right / 2.5rem 100% no-repeat local,
  linear-gradient(to left, var(--rule), transparent) right / .75rem 100% no-repeat scroll }
table { border-collapse: collapse; font-size: .8125rem; line-height: 1.35 }
th, td { padding: .4rem 1.1rem .4rem 0; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--rule); font-variant-numeric: tabular-nums }
th { font-weight: 600; vertical-align: bottom; color: var(--soft) }
td { white-space: nowrap }
th.words, td.words { text-align: left }
td.words { white-space: normal; min-width: 6.5rem }
td:first-child, th:first-child { position: sticky; left: 0; background: var(--paper);
  padding-right: 1rem }
.matrix td.words { white-space: nowrap }
details { margin-top: 1.5rem }
summary { cursor: pointer; font-weight: 600; font-size: .9375rem }
summary:focus-visible { outline: 2px solid var(--c3); outline-offset: 2px }
details h4 { margin-top: 1.25rem }
footer { margin-top: 3rem; padding-top: 1.5rem; border-top: 1px solid var(--rule);
  color: var(--soft); font-size: .875rem; max-width: 50rem }
footer p { margin-top: .5rem }

@media (max-width: 40rem) {
  .bar, .many .bar { grid-template-columns: minmax(0, 1fr) auto; padding-top: .375rem }
  .bar .track { grid-row: 2; grid-column: 1 / -1; height: 1.25rem }
  .bars .scale .name { display: none }
  .bars .scale .track { grid-row: 1; height: 1.125rem }
  .bars .scale .end { grid-column: 1 / -1 }
  .figures { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem }
  .figures dd { font-size: 1.625rem }
}
"""
