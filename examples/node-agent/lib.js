'use strict'
// The agent: a model that may call tools, until it answers. The model calls are
// observed by the instrumentation of the openai package; the agent and its tools
// get spans by the semantic conventions of OpenTelemetry for generative AI.

const { trace, SpanKind, SpanStatusCode } = require('@opentelemetry/api')
const OpenAI = require('openai')

const tracer = trace.getTracer('support-bot', '1.0.0')
const maxTurns = 8

const openai = new OpenAI({
  baseURL: process.env.OPENAI_BASE_URL || 'http://127.0.0.1:9100/v1',
  apiKey: process.env.OPENAI_API_KEY || 'none',
  maxRetries: 2
})

// inSpan runs f in a span and marks the span as failed where f throws.
function inSpan (name, kind, attributes, f) {
  return tracer.startActiveSpan(name, { kind, attributes }, async span => {
    try {
      return await f(span)
    } catch (err) {
      span.recordException(err)
      span.setStatus({ code: SpanStatusCode.ERROR, message: String(err.message) })
      span.setAttribute('error.type', err.name)
      throw err
    } finally {
      span.end()
    }
  })
}

// runAgent answers a question. agent is {name, model, instructions, user,
// conversation, tools}; a tool is {description, parameters, run(args)}. It returns
// {run, answer}: the run's id in the ledger is the trace id.
function runAgent (agent, question) {
  const attributes = {
    'gen_ai.operation.name': 'invoke_agent',
    'gen_ai.provider.name': 'openai',
    'gen_ai.agent.name': agent.name,
    'gen_ai.conversation.id': agent.conversation,
    'user.id': agent.user
  }
  return inSpan(`invoke_agent ${agent.name}`, SpanKind.INTERNAL, attributes, async span => {
    const messages = [
      { role: 'system', content: agent.instructions },
      { role: 'user', content: question }
    ]
    for (let turn = 0; turn < maxTurns; turn++) {
      const message = await ask(agent, messages)
      messages.push(message)
      if (!message.tool_calls?.length) return { run: span.spanContext().traceId, answer: message.content }
      for (const call of message.tool_calls) {
        const content = await callTool(agent, call)
        messages.push({ role: 'tool', tool_call_id: call.id, content })
      }
    }
    throw new Error(`no answer after ${maxTurns} turns`)
  })
}

async function ask (agent, messages) {
  const completion = await openai.chat.completions.create({
    model: agent.model,
    messages,
    tools: Object.entries(agent.tools).map(([name, t]) => ({
      type: 'function', function: { name, description: t.description, parameters: t.parameters }
    }))
  })
  return completion.choices[0].message
}

function callTool (agent, call) {
  const { name, arguments: args } = call.function
  const attributes = {
    'gen_ai.operation.name': 'execute_tool',
    'gen_ai.tool.name': name,
    'gen_ai.tool.type': 'function',
    'gen_ai.tool.call.id': call.id,
    'gen_ai.tool.call.arguments': args
  }
  return inSpan(`execute_tool ${name}`, SpanKind.INTERNAL, attributes, async span => {
    const result = JSON.stringify(await agent.tools[name].run(JSON.parse(args)))
    span.setAttribute('gen_ai.tool.call.result', result)
    return result
  })
}

module.exports = { runAgent, inSpan }
