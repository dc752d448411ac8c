"""test_api_responses.py - /v1/responses against the running server: objects, typed events, what is kept, cancelling."""
import http.client
import json
import unittest

from api_case import ApiCase

PATH = "/v1/responses"


class Responses(ApiCase):
    def events(self, body):
        """[(type, object)] of a stream; names and numbers of events are checked."""
        status, headers, data = self.server.request("POST", PATH, {**body, "stream": True})
        self.assertEqual(status, 200, data)
        self.assertTrue(headers["content-type"].startswith("text/event-stream"))
        found = []
        for block in data.decode().split("\n\n")[:-1]:
            if block.startswith(":"):
                continue
            name, payload = block.split("\n", 1)
            payload = json.loads(payload[len("data: "):])
            self.assertEqual(name, "event: " + payload["type"])
            self.assertEqual(payload["sequence_number"], len(found))
            found.append((payload["type"], payload))
        return found

    def test_object(self):
        r = self.ok(PATH, {"input": "Hello", "max_output_tokens": 6, "temperature": 0, "metadata": {"a": "b"}})
        self.assertEqual((r["object"], r["model"], r["metadata"]), ("response", self.model, {"a": "b"}))
        self.assertTrue(r["id"].startswith("resp_"))
        message, = r["output"]
        self.assertEqual((message["type"], message["role"]), ("message", "assistant"))
        part, = message["content"]
        self.assertEqual((part["type"], part["annotations"]), ("output_text", []))
        self.assertEqual(r["usage"]["total_tokens"], r["usage"]["input_tokens"] + r["usage"]["output_tokens"])
        chat = self.ok("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 6,
                                                "temperature": 0})
        self.assertEqual(part["text"], chat["choices"][0]["message"]["content"])
        cut = chat["choices"][0]["finish_reason"] == "length"
        self.assertEqual(r["status"], "incomplete" if cut else "completed")
        self.assertEqual(r["incomplete_details"], {"reason": "max_output_tokens"} if cut else None)

    def test_stream(self):
        body = {"input": "Hello", "max_output_tokens": 8, "temperature": 0, "instructions": "Be brief."}
        whole = self.ok(PATH, body)
        events = self.events(body)
        names = [n for n, _ in events]
        end = "response." + whole["status"]
        self.assertEqual(names[:4], ["response.created", "response.in_progress", "response.output_item.added",
                                     "response.content_part.added"])
        self.assertEqual(names[-4:], ["response.output_text.done", "response.content_part.done",
                                      "response.output_item.done", end])
        self.assertEqual(set(names[4:-4]), {"response.output_text.delta"})
        text = whole["output"][0]["content"][0]["text"]
        self.assertEqual("".join(e["delta"] for n, e in events if n.endswith("text.delta")), text)
        self.assertEqual(events[-4][1]["text"], text)
        final = events[-1][1]["response"]
        self.assertEqual(events[-2][1]["item"], final["output"][0])
        self.assertEqual(final["output"][0]["content"], whole["output"][0]["content"])
        self.assertEqual(self.get(f"{PATH}/{final['id']}"), final)

    def test_kept(self):
        first = self.ok(PATH, {"input": "My name is Ann.", "max_output_tokens": 4, "temperature": 0})
        self.assertEqual(self.get(f"{PATH}/{first['id']}"), first)
        items = self.get(f"{PATH}/{first['id']}/input_items")["data"]
        self.assertEqual(items[0]["content"][0]["text"], "My name is Ann.")
        second = self.ok(PATH, {"input": "And yours?", "previous_response_id": first["id"], "max_output_tokens": 4,
                                "temperature": 0})
        by_hand = self.ok("/v1/chat/completions", {"messages": [
            {"role": "user", "content": "My name is Ann."},
            {"role": "assistant", "content": first["output"][0]["content"][0]["text"]},
            {"role": "user", "content": "And yours?"}], "max_tokens": 4, "temperature": 0})
        self.assertEqual(second["usage"]["input_tokens"], by_hand["usage"]["prompt_tokens"])
        self.assertEqual(second["output"][0]["content"][0]["text"], by_hand["choices"][0]["message"]["content"])
        self.assertEqual(self.server.request("DELETE", f"{PATH}/{first['id']}")[0], 200)
        self.refused(404, f"{PATH}/{first['id']}", None)
        e = self.refused(404, PATH, {"input": "x", "previous_response_id": first["id"]})
        self.assertEqual(e["param"], "previous_response_id")
        self.get(f"{PATH}/{second['id']}")

    def test_not_kept(self):
        r = self.ok(PATH, {"input": "x", "max_output_tokens": 2, "store": False})
        self.refused(404, f"{PATH}/{r['id']}", None)

    def test_items(self):
        """Calls, their outputs and parts become the messages that chat completions take."""
        r = self.ok(PATH, {"max_output_tokens": 2, "input": [
            {"role": "developer", "content": "S"},
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"x\": 1}"},
            {"type": "function_call_output", "call_id": "c1", "output": "42"}]})
        chat = self.ok("/v1/chat/completions", {"max_tokens": 2, "messages": [
            {"role": "system", "content": "S"}, {"role": "user", "content": "a\nb"},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "42"}]})
        self.assertEqual(r["usage"]["input_tokens"], chat["usage"]["prompt_tokens"])

    def cancel_one(self):
        """The states that a cancelled stream and its kept object end in; None when the answer was faster."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        self.addCleanup(connection.close)
        connection.request("POST", PATH, json.dumps({"input": "Tell", "stream": True}),
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        while not (line := answer.readline().decode()).startswith("data: "):
            pass
        created = json.loads(line[6:])["response"]["id"]
        status, _, body = self.server.request("POST", f"{PATH}/{created}/cancel")
        rest = answer.read().decode()
        self.refused(400, f"{PATH}/{created}/cancel", {})
        if status != 200 or "response.completed" in rest:
            return None
        self.assertEqual(json.loads(body)["status"], "cancelled")
        return '"code":"cancelled"' in rest, self.get(f"{PATH}/{created}")["status"]

    def test_cancel(self):
        self.refused(404, f"{PATH}/resp_none/cancel", {})
        ends = next(filter(None, (self.cancel_one() for _ in range(50))), None)
        self.assertEqual(ends, (True, "cancelled"))

    def test_refusals(self):
        for field, value in (("background", True), ("truncation", "auto"), ("include", ["x"]), ("input", []),
                             ("max_output_tokens", 0), ("tool_choice", "sometimes"), ("colour", 1),
                             ("previous_response_id", "")):
            e = self.refused(400, PATH, {"input": "x", "max_output_tokens": 1, field: value})
            self.assertEqual(e["param"], field, e)
        for item, param in (({"type": "input_image"}, "input[0].type"),
                            ({"role": "king", "content": "x"}, "input[0].role"),
                            ({"role": "user", "content": [{"type": "input_image"}]}, "input[0].content[0].type"),
                            ({"type": "function_call", "call_id": "1", "name": "f", "arguments": "{"},
                             "input[0].arguments"),
                            ({"type": "item_reference", "id": "msg_1"}, "input[0].type")):
            self.assertEqual(self.refused(400, PATH, {"input": [item]})["param"], param)
        e = self.refused(400, PATH, {"input": "x", "tools": [{"type": "web_search"}]})
        self.assertEqual(e["param"], "tools[0].type")
        self.assertEqual(self.refused(400, PATH, {"input": "word " * 700})["code"], "context_length_exceeded")


if __name__ == "__main__":
    unittest.main()
