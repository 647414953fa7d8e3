//! `Accept` (RFC 9110, section 12.5.1): which media type a client likes best. Pure functions.

use super::prefer::split_outside_quotes;
use axum::http::{HeaderMap, header};

/// The media ranges of `Accept`, each with its quality in [0, 1].
#[derive(Debug, Clone, PartialEq)]
pub struct Accept {
    ranges: Vec<(String, f32)>,
}

impl Accept {
    /// Reads the field; absent means that everything is as good.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut ranges = Vec::new();
        for line in headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok()) {
            for item in split_outside_quotes(line, ',') {
                let mut parts = split_outside_quotes(item, ';').into_iter();
                let range = parts.next().unwrap_or("").trim().to_ascii_lowercase();
                if !range.contains('/') {
                    continue;
                }
                let quality = parts
                    .filter_map(|parameter| parameter.trim().strip_prefix("q=")?.trim().parse::<f32>().ok())
                    .find(|quality| quality.is_finite())
                    .unwrap_or(1.0);
                ranges.push((range, quality.clamp(0.0, 1.0)));
            }
        }
        if ranges.is_empty() {
            ranges.push(("*/*".to_owned(), 1.0));
        }
        Self { ranges }
    }

    /// Quality of one media type: that of the most specific range that names it, 0 where none does.
    pub fn quality(&self, media_type: &str) -> f32 {
        let class = media_type.split('/').next().unwrap_or("");
        self.ranges
            .iter()
            .filter_map(|(range, quality)| match range.as_str() {
                _ if range == media_type => Some((2, *quality)),
                "*/*" => Some((0, *quality)),
                _ if range.strip_suffix("/*") == Some(class) => Some((1, *quality)),
                _ => None,
            })
            .max_by_key(|(specificity, _)| *specificity)
            .map_or(0.0, |(_, quality)| quality)
    }

    /// The best of some media types, the first of equals; `None` where none is accepted.
    pub fn best<'a>(&self, media_types: &[&'a str]) -> Option<&'a str> {
        let mut best: Option<(&str, f32)> = None;
        for media_type in media_types {
            let quality = self.quality(media_type);
            if quality > best.map_or(0.0, |(_, quality)| quality) {
                best = Some((media_type, quality));
            }
        }
        best.map(|(media_type, _)| media_type)
    }

    /// True where a picture is liked better than JSON.
    pub fn prefers_image(&self) -> bool {
        let image = self
            .ranges
            .iter()
            .filter(|(range, _)| range.starts_with("image/"))
            .map(|(_, quality)| *quality)
            .fold(0.0, f32::max);
        image > self.quality("application/json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(line: &str) -> Accept {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, line.parse().unwrap());
        Accept::of(&headers)
    }

    #[test]
    fn the_most_specific_range_decides() {
        let accept = accept("image/*;q=0.5, image/png;q=0.9, */*;q=0.1");
        assert_eq!(accept.quality("image/png"), 0.9);
        assert_eq!(accept.quality("image/jpeg"), 0.5);
        assert_eq!(accept.quality("text/plain"), 0.1);
        assert_eq!(accept.best(&["image/jpeg", "image/png"]), Some("image/png"));
    }

    #[test]
    fn a_browser_and_curl_get_the_picture_as_it_is() {
        let browser = accept("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8");
        assert_eq!(browser.best(&["image/png", "image/jpeg", "image/webp"]), Some("image/png"));
        assert_eq!(accept("*/*").best(&["image/jpeg", "image/png"]), Some("image/jpeg"));
        assert_eq!(accept("text/html").best(&["image/png"]), None);
        assert_eq!(accept("image/png;q=0").best(&["image/png"]), None);
    }

    #[test]
    fn a_picture_is_preferred_only_where_the_client_says_so() {
        assert!(accept("image/png").prefers_image());
        assert!(accept("image/*, */*;q=0.8").prefers_image());
        assert!(!accept("*/*").prefers_image());
        assert!(!accept("application/json").prefers_image());
        assert!(!accept("application/json, image/png;q=0.5").prefers_image());
        assert!(!Accept::of(&HeaderMap::new()).prefers_image());
    }
}
