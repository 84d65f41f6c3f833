//! What tokens cost. A table of ours: the API names no prices.

/// Letters of text for each token that was written.
pub const LETTERS_PER_TOKEN: u64 = 4;
const MILLION: f64 = 1_000_000.0;

/// US dollars for a million tokens. A write to the cache costs 1.25 times what is read, for an hour twice that, a read
/// from it a tenth.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Price {
    read: f64,
    written: f64,
}

/// The first that the model's name contains counts. An unknown model costs as much as the dearest common one.
const PRICES: [(&str, Price); 9] = [
    ("opus-5", Price { read: 4.0, written: 20.0 }),
    ("opus-4-1", Price { read: 15.0, written: 75.0 }),
    ("opus-4-2025", Price { read: 15.0, written: 75.0 }),
    ("3-opus", Price { read: 15.0, written: 75.0 }),
    ("opus", Price { read: 5.0, written: 25.0 }),
    ("sonnet-5", Price { read: 2.0, written: 10.0 }),
    ("sonnet", Price { read: 3.0, written: 15.0 }),
    ("haiku", Price { read: 1.0, written: 5.0 }),
    ("", Price { read: 15.0, written: 75.0 }),
];

fn price(model: &str) -> Price {
    PRICES.iter().find(|(part, _)| model.contains(part)).map_or(PRICES[PRICES.len() - 1].1, |(_, price)| *price)
}

/// The tokens of one message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Read by the model, neither from the cache nor into it.
    pub read: u64,
    /// Read from the cache.
    pub from_cache: u64,
    /// Written to the cache.
    pub to_cache: u64,
    /// Of these, kept for an hour.
    pub to_cache_hour: u64,
    /// Written by the model.
    pub written: u64,
}

impl Tokens {
    /// What they cost with `model`, US dollars.
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^53 tokens")]
    #[must_use]
    pub fn usd(&self, model: &str) -> f64 {
        let price = price(model);
        let for_an_hour = self.to_cache_hour.min(self.to_cache);
        let read = 0.1f64.mul_add(self.from_cache as f64, self.read as f64)
            + 1.25f64.mul_add((self.to_cache - for_an_hour) as f64, 2.0 * for_an_hour as f64);
        price.read.mul_add(read, price.written * self.written as f64) / MILLION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_model_is_a_dear_one() {
        assert_eq!(price("claude-future"), price("claude-opus-4-1"));
        assert!(price("claude-haiku-4-5").read < price("claude-sonnet-4-6").read);
    }

    #[test]
    fn each_kind_of_token_has_its_price() {
        let usd = |tokens: Tokens| tokens.usd("claude-sonnet-4-5") * MILLION;
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        near(usd(Tokens { read: 100, ..Tokens::default() }), 300.0);
        near(usd(Tokens { from_cache: 100, ..Tokens::default() }), 30.0);
        near(usd(Tokens { to_cache: 100, ..Tokens::default() }), 375.0);
        near(usd(Tokens { to_cache: 100, to_cache_hour: 40, ..Tokens::default() }), 225.0 + 240.0);
        near(usd(Tokens { written: 100, ..Tokens::default() }), 1500.0);
    }
}
