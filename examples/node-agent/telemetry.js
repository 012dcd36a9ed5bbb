'use strict'
// Telemetry: OpenTelemetry for this process, set up before anything else is
// loaded, so that the openai package is instrumented. All that runledger needs is
// here and in the standard variables:
//
//   OTEL_EXPORTER_OTLP_ENDPOINT   where to send, default http://127.0.0.1:4318
//   OTEL_EXPORTER_OTLP_HEADERS    "authorization=Bearer <key>"
//   OTEL_EXPORTER_OTLP_PROTOCOL   http/protobuf (default), http/json or grpc

const env = process.env
env.OTEL_SERVICE_NAME ??= 'support-bot'
env.OTEL_EXPORTER_OTLP_ENDPOINT ??= 'http://127.0.0.1:4318'
// Traces are exported by default; logs (the texts of prompts and answers) and
// metrics are not.
env.OTEL_TRACES_EXPORTER ??= 'otlp'
env.OTEL_LOGS_EXPORTER ??= 'otlp'
env.OTEL_METRICS_EXPORTER ??= 'otlp'

const { NodeSDK } = require('@opentelemetry/sdk-node')
const { OpenAIInstrumentation } = require('@opentelemetry/instrumentation-openai')

const sdk = new NodeSDK({
  // Without captureMessageContent, prompts and answers are not sent at all.
  instrumentations: [new OpenAIInstrumentation({ captureMessageContent: true })]
})
sdk.start()

// shutdown sends what is still in memory. A process that ends without it loses
// its last spans.
exports.shutdown = () => sdk.shutdown()
