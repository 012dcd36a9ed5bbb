// Package prices knows what model calls cost: a table of list prices, dated,
// for each provider, model and class of tokens, and exact arithmetic in nano
// dollars (US dollars * 1e-9). prices.yaml, which is embedded, explains the
// form of a table; a deployment puts its own in front of it ([Table.With]). The
// source is otlp.md, section 4.
//
// The package never guesses: a model, a date or a class of tokens that the
// table does not price has no cost. It is pure, and so is its result: the same
// table and call always cost the same, to the nano dollar, rounded half up
// once, at the end.
package prices
