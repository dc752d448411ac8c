// clients_node.mjs - what clients_node.py runs: openai, the AI SDK, Anthropic's and Ollama's clients.
// usage: node clients_node.mjs URL MODEL; prints {name, error?} a line for each thing that it tries.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, jsonSchema, streamText, tool } from "ai";
import { Ollama } from "ollama";
import OpenAI from "openai";

const [url, model] = process.argv.slice(2);
const messages = [{ role: "user", content: "Say hello." }];
const openai = new OpenAI({ baseURL: url + "/v1", apiKey: "none", maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
const ollama = new Ollama({ host: url });
const provider = createOpenAICompatible({ name: "loquat", baseURL: url + "/v1", apiKey: "none", includeUsage: true });
const greedy = { model, messages, max_tokens: 8, temperature: 0 };
const known = (await openai.chat.completions.create(greedy)).choices[0].message.content;

const things = {
  async "openai: models and errors"() {
    assert.equal((await openai.models.list()).data[0].id, model);
    await assert.rejects(openai.chat.completions.create({ ...greedy, model: "none" }), OpenAI.NotFoundError);
    await assert.rejects(openai.chat.completions.create({ ...greedy, temperature: 9 }), OpenAI.BadRequestError);
  },
  async "openai: chat stream"() {
    let text = "", usage;
    const stream = await openai.chat.completions.create({ ...greedy, stream: true, stream_options: { include_usage: true } });
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, known);
    assert.equal(usage.completion_tokens, 8);
  },
  async "openai: completion and embeddings"() {
    const a = await openai.completions.create({ model, prompt: "Once upon", max_tokens: 4, temperature: 0 });
    assert.equal(a.choices[0].finish_reason, "length");
    const b = await openai.embeddings.create({ model, input: ["a", "b"] });
    assert.ok(Math.abs(Math.hypot(...b.data[1].embedding) - 1) < 1e-4);
  },
  async "openai: leaving a stream"() {
    const stream = await openai.chat.completions.create({ ...greedy, max_tokens: 500, stream: true });
    for await (const chunk of stream) if (chunk.choices[0]?.delta?.content) break;
    stream.controller.abort();
  },
  async "ai: generateText"() {
    const a = await generateText({ model: provider(model), messages, maxOutputTokens: 8, temperature: 0 });
    assert.equal(a.text, known);
    assert.equal(a.finishReason, "length");
    assert.equal(a.usage.outputTokens, 8);
  },
  async "ai: streamText"() {
    const a = streamText({ model: provider(model), messages, maxOutputTokens: 8, temperature: 0 });
    let text = "";
    for await (const delta of a.textStream) text += delta;
    assert.equal(text, known);
    assert.equal((await a.usage).outputTokens, 8);
  },
  async "openai and ai: a call that must come"() {
    const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
    const tools = [{ type: "function", function: { name: "weather", description: "Weather of a city.", parameters } }];
    const asked = { ...greedy, max_tokens: 200, tools, tool_choice: "required", parallel_tool_calls: false };
    const call = (await openai.chat.completions.create(asked)).choices[0].message.tool_calls[0];
    assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)), ["city"]);
    let text = "";
    for await (const chunk of await openai.chat.completions.create({ ...asked, stream: true }))
      text += chunk.choices[0]?.delta?.tool_calls?.[0]?.function?.arguments ?? "";
    assert.equal(text, call.function.arguments);
    const weather = tool({ description: "Weather of a city.", inputSchema: jsonSchema(parameters), execute: async ({ city }) => "sunny in " + city });
    const a = await generateText({ model: provider(model), messages, tools: { weather }, toolChoice: "required", maxOutputTokens: 200, temperature: 0, providerOptions: { loquat: { parallel_tool_calls: false } } });
    assert.equal(a.toolCalls[0].toolName, "weather");
    assert.equal(a.toolResults[0].output, "sunny in " + a.toolCalls[0].input.city);
  },
  async "ai: embed"() {
    const a = await embed({ model: provider.embeddingModel(model), value: "a" });
    assert.ok(a.embedding.length > 10);
  },
  async "anthropic: message and stream"() {
    const a = await anthropic.messages.create(greedy);
    assert.equal(a.content[0].text, known);
    const b = await anthropic.messages.stream(greedy).finalMessage();
    assert.equal(b.content[0].text, known);
    assert.equal(b.stop_reason, "max_tokens");
    assert.ok((await anthropic.messages.countTokens({ model, messages })).input_tokens > 5);
    await assert.rejects(anthropic.messages.create({ ...greedy, model: "none" }), Anthropic.NotFoundError);
  },
  async "ollama: chat, stream, embed"() {
    const options = { temperature: 0, num_predict: 8 };
    const a = await ollama.chat({ model, messages, options });
    assert.equal(a.message.content, known);
    let text = "";
    for await (const part of await ollama.chat({ model, messages, options, stream: true })) text += part.message.content;
    assert.equal(text, known);
    assert.equal((await ollama.embed({ model, input: ["a", "b"] })).embeddings.length, 2);
    assert.equal((await ollama.list()).models[0].name, model + ":latest");
  },
};

for (const [name, run] of Object.entries(things)) {
  try {
    await run();
    console.log(JSON.stringify({ name }));
  } catch (error) {
    console.log(JSON.stringify({ name, error: String(error.stack ?? error) }));
  }
}
process.exit(0);
