'use strict'
// A support agent with two tools. It prints its answer, and the run's id last.

const telemetry = require('./telemetry') // first: it instruments what comes after
const { runAgent } = require('./lib')

const orders = { 'A-17': { status: 'shipped', carrier: 'north post' } }

const agent = {
  name: 'support-agent',
  model: 'gpt-4o-mini',
  instructions: 'You help customers of a small shop.',
  user: 'customer-42',
  conversation: 'conversation-7',
  tools: {
    get_weather: {
      description: 'The weather in a city',
      parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
      run: async ({ city }) => ({ city, celsius: 8, sky: 'rain' })
    },
    lookup_order: {
      description: 'The state of an order',
      parameters: { type: 'object', properties: { order_id: { type: 'string' } }, required: ['order_id'] },
      run: async ({ order_id: id }) => orders[id] ?? { error: 'no such order' }
    }
  }
}

const question = process.argv[2] || 'Where is order A-17, and what is the weather in Paris?'

runAgent(agent, question)
  .then(({ run, answer }) => console.log(`${answer}\nrun ${run}`))
  .catch(err => { console.error(err); process.exitCode = 1 })
  .finally(telemetry.shutdown)
