'use strict'
// An agent that wants to pay more than its policy allows. What the policy decides
// is told to the ledger by attributes of an ordinary span; the ledger makes an
// audit entry of the run from them, and decides nothing itself. It prints its
// answer, and the run's id last.

const telemetry = require('./telemetry') // first: it instruments what comes after
const { SpanKind } = require('@opentelemetry/api')
const { runAgent, inSpan } = require('./lib')

const limit = 100 // euros that the agent may pay back without a person

// mayRefund is the policy. Here it is one comparison; it may as well be another
// program. It states two facts: what was measured against which limit, and what
// was decided.
async function mayRefund (amount) {
  const allowed = amount <= limit
  await inSpan('limit refund-eur', SpanKind.INTERNAL, {
    'runledger.limit_id': 'refund-eur',
    'runledger.limit_value': limit,
    'runledger.observed_value': amount,
    'runledger.limit_unit': 'EUR'
  }, async () => {})
  await inSpan('policy refunds', SpanKind.INTERNAL, {
    'runledger.policy_id': 'refunds',
    'runledger.rule_id': 'refund-limit',
    'runledger.decision': allowed ? 'PASSED' : 'BLOCKED',
    'runledger.reason': allowed ? 'within the limit' : `${amount} EUR is over the limit of ${limit} EUR`
  }, async () => {})
  return allowed
}

const agent = {
  name: 'refund-agent',
  model: 'gpt-4o',
  instructions: 'You pay customers back.',
  user: 'customer-42',
  conversation: 'conversation-8',
  tools: {
    refund_order: {
      description: 'Pays a customer back',
      parameters: {
        type: 'object',
        properties: { order_id: { type: 'string' }, amount: { type: 'number' } },
        required: ['order_id', 'amount']
      },
      run: async ({ order_id: id, amount }) => {
        if (!await mayRefund(amount)) return { order: id, refunded: false, reason: 'over the limit: a person must decide' }
        return { order: id, refunded: true, amount }
      }
    }
  }
}

const question = process.argv[2] || 'Please refund 250 euros for order A-17.'

runAgent(agent, question)
  .then(({ run, answer }) => console.log(`${answer}\nrun ${run}`))
  .catch(err => { console.error(err); process.exitCode = 1 })
  .finally(telemetry.shutdown)
