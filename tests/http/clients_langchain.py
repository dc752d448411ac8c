"""clients_langchain.py - langchain-openai, unchanged but for base_url: chat, streams, batches, chains, embeddings."""
import unittest

from clients_case import ClientCase, have

langchain = have("langchain_openai")


@unittest.skipIf(langchain is None, "the langchain-openai package is not installed here")
class LangChain(ClientCase):
    def setUp(self):
        self.options = {"model": self.model, "base_url": self.url + "/v1", "api_key": "none", "max_retries": 0}
        self.chat = langchain.ChatOpenAI(**self.options, max_tokens=8, temperature=0)

    def test_chat(self):
        a = self.chat.invoke("Say hello.")
        self.assertEqual(a.usage_metadata["output_tokens"], 8)
        self.assertEqual(a.response_metadata["finish_reason"], "length")
        self.assertEqual("".join(c.content for c in self.chat.stream("Say hello.")), a.content)
        self.assertEqual([m.content for m in self.chat.batch(["Say hello.", "Say hello."])], [a.content] * 2)

    def test_a_call_that_must_come(self):
        from langchain_core.tools import tool

        @tool
        def weather(city: str) -> str:
            """Weather of a city."""
            return "sunny in " + city

        chat = langchain.ChatOpenAI(**self.options, max_tokens=200, temperature=0)
        bound = chat.bind_tools([weather], tool_choice="any")
        call = bound.invoke("Weather in Rome?").tool_calls[0]
        self.assertEqual((call["name"], list(call["args"])), ("weather", ["city"]))
        total = None
        for chunk in bound.stream("Weather in Rome?"):
            total = chunk if total is None else total + chunk
        self.assertEqual(total.tool_calls[0]["args"], call["args"])

    def test_chain(self):
        from langchain_core.output_parsers import StrOutputParser
        from langchain_core.prompts import ChatPromptTemplate
        prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "Say {word}.")])
        text = (prompt | self.chat | StrOutputParser()).invoke({"word": "hello"})
        known = self.ok("/v1/chat/completions", {"max_tokens": 8, "temperature": 0, "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]})
        self.assertEqual(text, known["choices"][0]["message"]["content"])

    def test_completion_and_embeddings(self):
        text = langchain.OpenAI(**self.options, max_tokens=6, temperature=0).invoke("Once upon")
        self.assertEqual(text, self.text("/v1/completions", {"prompt": "Once upon", "max_tokens": 6, "temperature": 0}))
        embeddings = langchain.OpenAIEmbeddings(**self.options, check_embedding_ctx_length=False)
        vectors = embeddings.embed_documents(["a", "b"])
        self.assertEqual(len(vectors), 2)
        self.assertAlmostEqual(sum(x * x for x in vectors[0]), 1, places=4)


if __name__ == "__main__":
    unittest.main()
