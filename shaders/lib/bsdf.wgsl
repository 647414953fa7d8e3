// The surface reflection of glTF 2.0's metallic-roughness material, one side. Pure functions, no bindings.
//
// Frame: local, z = the shading normal, on the side of `wo`. `wo` points to where light goes, `wi` to where it comes from; both are unit
// and point away from the surface. Measure: solid angle (steradian). Domain: z of both at least COS_MIN; below, every function says 0.
//
// The model, linear in `metallic` as glTF asks (Khronos, glTF 2.0 specification, appendix B), with base colour b:
//
//     f = D V · mix(specular · F(0.04), F(b)·(1 + b·(1 − E(wo)) / E(wo)), metallic)  +  (1 − metallic) · b · d(wo) d(wi) / (π d_mean)
//
// - D, V: GGX with α = roughness² and height-correlated Smith masking. F: Schlick.
// - E: directional albedo of D V alone. Its loss is light that meets the microsurface twice. A metal gets it back by the factor
//   of Turquin 2019, "Practical multiple scattering compensation for microfacet models" (its form with F0): exact for b = 1. The
//   factor depends on `wo` only, so the metal is not reciprocal: f(wo, wi) · (its factor at wi) = f(wi, wo) · (its factor at wo).
// - d = 1 − specular · directional albedo of D V F(0.04): what the dielectric's interface lets through. Diffuse light passes it on the way in
//   and on the way out, as in Kelemen & Szirmay-Kalos 2001, "A Microfacet Based Coupled Specular-Matte BRDF Model": reciprocal,
//   and with b = 1 the albedo is 1. The dielectric's own second reflections, under 0.4 % of the light, leave as diffuse light too.

import package::lib::math::{PI, INV_PI, TWO_PI, safe_normalize};

struct Surface {
    /// Linear Rec. 709, each in [0, 1].
    base_color: vec3f,
    /// [0, 1].
    metallic: f32,
    /// [0, 1], perceptual: GGX's α is its square.
    roughness: f32,
    /// [0, 1]: factor on the dielectric's reflection (`KHR_materials_specular`); 1 without the extension, 0 leaves a Lambertian surface.
    specular: f32,
}

struct BsdfSample {
    /// Local frame, unit length.
    wi: vec3f,
    /// f · |cos θ_wi| / pdf, the factor on the path's throughput. 0 where `pdf` is 0.
    weight: vec3f,
    /// Per steradian, of the whole mixture. 0: the path was absorbed, and `wi` means nothing.
    pdf: f32,
}

/// The smallest α. A mirror is a GGX lobe 0.06° wide: narrower than a pixel, and D (at most 1 / πα²) and the half vector still
/// have the digits in f32 that the lobe needs.
const ALPHA_MIN: f32 = 0.001;
/// Directions nearer to the horizon than this (0.0001°) count as below it: they carry 10⁻¹² of the light, and products of their
/// cosines would leave the range of f32.
const COS_MIN: f32 = 1.0e-6;
/// Reflectance of a dielectric of ior 1.5 at normal incidence, as glTF has it.
const DIELECTRIC_F0: f32 = 0.04;

/// f(wo, wi) · |cos θ_wi|. Zero outside of the domain.
fn bsdf_eval(s: Surface, wo: vec3f, wi: vec3f) -> vec3f {
    return bsdf_eval_pdf(s, wo, wi).xyz;
}

/// The density per steradian with which `bsdf_sample` draws `wi`. Zero outside of the domain. Its integral is below 1 by the part of
/// the microfacet reflections that ends below the horizon.
fn bsdf_pdf(s: Surface, wo: vec3f, wi: vec3f) -> f32 {
    return bsdf_eval_pdf(s, wo, wi).w;
}

/// `bsdf_eval` in xyz and `bsdf_pdf` in w, at the price of one.
fn bsdf_eval_pdf(s: Surface, wo: vec3f, wi: vec3f) -> vec4f {
    if wo.z < COS_MIN {
        return vec4f(0.0);
    }
    return eval_pdf(s, lobes(s, wo.z), wo, wi);
}

/// Draws `wi` by the mixture of two lobes, chosen by their albedo: visible GGX normals, and the cosine. `u` in [0, 1)³: xy the
/// direction, z the lobe.
fn bsdf_sample(s: Surface, wo: vec3f, u: vec3f) -> BsdfSample {
    let absorbed = BsdfSample(vec3f(0.0, 0.0, 1.0), vec3f(0.0), 0.0);
    if wo.z < COS_MIN {
        return absorbed;
    }
    let l = lobes(s, wo.z);
    var wi: vec3f;
    if u.z < l.specular_probability {
        let h = sample_visible_normal(wo, l.alpha, u.xy);
        wi = safe_normalize(2.0 * dot(wo, h) * h - wo, vec3f(0.0, 0.0, -1.0));
    } else {
        wi = sample_cosine(u.xy);
    }
    let value_pdf = eval_pdf(s, l, wo, wi);
    if value_pdf.w <= 0.0 {
        return absorbed;
    }
    return BsdfSample(wi, value_pdf.xyz / value_pdf.w, value_pdf.w);
}

/// What eval, pdf and sample have in common: all that depends on `wo` and the surface only.
struct Lobes {
    /// α of GGX, clamped.
    alpha: f32,
    /// Turquin's factor, per channel, for the metal.
    compensation: vec3f,
    /// Scale of the diffuse lobe: (1 − metallic) · b · d(wo) / (π d_mean).
    diffuse: vec3f,
    /// Probability of the GGX lobe.
    specular_probability: f32,
}

fn lobes(s: Surface, cos_o: f32) -> Lobes {
    let roughness = max(s.roughness, sqrt(ALPHA_MIN));
    let alpha = roughness * roughness;
    let albedo = microfacet_albedo(cos_o, roughness);
    let compensation = 1.0 + s.base_color * ((1.0 - albedo.unit) / albedo.unit);
    let reflected = s.specular * albedo.dielectric;
    let transmitted = 1.0 - reflected;
    let diffuse_albedo = (1.0 - s.metallic) * s.base_color * transmitted;

    // The metal's albedo for the choice only: that of its compensated F0, which is right but for a little at grazing angles.
    let metal_albedo = channel_mean(s.base_color) * (1.0 - albedo.grazing) + albedo.grazing;
    // The floor is for black surfaces that reflect nothing: there is a lobe to choose all the same.
    let specular = max(mix(reflected, metal_albedo, s.metallic), 1.0e-4);
    let diffuse = channel_mean(diffuse_albedo);
    let transmitted_mean = 1.0 - s.specular * (1.0 - mean_transmission(roughness));
    return Lobes(
        alpha,
        compensation,
        diffuse_albedo * (INV_PI / transmitted_mean),
        specular / (specular + diffuse),
    );
}

/// What lobes are chosen by. Not the luminance: a blue lobe would be chosen so seldom that its samples count for fourteen.
fn channel_mean(c: vec3f) -> f32 {
    return (c.x + c.y + c.z) * (1.0 / 3.0);
}

/// xyz: f · cos θ_wi, w: pdf. `wo.z` must be in the domain.
fn eval_pdf(s: Surface, l: Lobes, wo: vec3f, wi: vec3f) -> vec4f {
    if wi.z < COS_MIN {
        return vec4f(0.0);
    }
    let h = safe_normalize(wo + wi, vec3f(0.0, 0.0, 1.0));
    let alpha2 = l.alpha * l.alpha;
    let d = ggx_normal_density(h, alpha2);
    // √(α² + (1 − α²) cos²) is cos · (1 + 2 Λ) with Λ of Heitz 2014, "Understanding the Masking-Shadowing Function in
    // Microfacet-Based BRDFs", equation 72. So nothing is divided by a cosine.
    let lambda_o = sqrt(alpha2 + (1.0 - alpha2) * wo.z * wo.z);
    let lambda_i = sqrt(alpha2 + (1.0 - alpha2) * wi.z * wi.z);
    // V · cos θ_wi with V = G2 / (4 cos cos), G2 height-correlated: equation 99 there.
    let visible = 0.5 * wi.z / (wo.z * lambda_i + wi.z * lambda_o);

    let m = saturate(1.0 - dot(wi, h));
    let m2 = m * m;
    let schlick = m2 * m2 * m;
    let metal = (s.base_color + (1.0 - s.base_color) * schlick) * l.compensation;
    let dielectric = s.specular * (DIELECTRIC_F0 + (1.0 - DIELECTRIC_F0) * schlick);
    let fresnel = mix(vec3f(dielectric), metal, s.metallic);

    let roughness = sqrt(l.alpha);
    let diffuse = l.diffuse * ((1.0 - s.specular * microfacet_albedo(wi.z, roughness).dielectric) * wi.z);

    // The density of visible normals, D G1 cos(wo, h) / cos θ_wo, over the reflection's Jacobian 4 cos(wo, h).
    let specular_pdf = 0.5 * d / (wo.z + lambda_o);
    let diffuse_pdf = wi.z * INV_PI;
    return vec4f(
        fresnel * (d * visible) + diffuse,
        mix(diffuse_pdf, specular_pdf, l.specular_probability),
    );
}

/// Density of GGX normals over projected solid angle. `h`: unit, local.
/// Source: Walter et al. 2007, "Microfacet Models for Refraction through Rough Surfaces", equation 33, with the tangent
/// taken from x and y, so that nothing cancels near the pole.
fn ggx_normal_density(h: vec3f, alpha2: f32) -> f32 {
    let t = dot(h.xy, h.xy) / alpha2 + h.z * h.z;
    return 1.0 / (PI * alpha2 * t * t);
}

/// A unit GGX normal (local) as seen from `wo`; density D G1 max(0, wo·h) / cos θ_wo. `wo.z` > 0.
/// Source: Dupuy & Benyoub 2023, "Sampling Visible GGX Normals with Spherical Caps", listing 3. The cap's z plus the direction's z is
/// written as one product, which cannot cancel at grazing angles.
fn sample_visible_normal(wo: vec3f, alpha: f32, u: vec2f) -> vec3f {
    let w = normalize(vec3f(alpha * wo.xy, wo.z));
    let phi = TWO_PI * u.x;
    let sum_z = (1.0 - u.y) * (1.0 + w.z);
    let z = sum_z - w.z;
    let sin_theta = sqrt(saturate(1.0 - z * z));
    let h = vec2f(cos(phi), sin(phi)) * sin_theta + w.xy;
    return safe_normalize(vec3f(alpha * h, sum_z), vec3f(0.0, 0.0, 1.0));
}

/// A unit direction (local) of density cos θ / π.
/// Source: Shirley & Chiu 1997, "A Low Distortion Map Between Disk and Square", lifted to the hemisphere (Malley).
fn sample_cosine(u: vec2f) -> vec3f {
    let o = 2.0 * u - 1.0;
    let steep = abs(o.y) > abs(o.x);
    let radius = select(o.x, o.y, steep);
    let across = select(o.y, o.x, steep);
    let angle = (PI / 4.0) * across / select(radius, 1.0, radius == 0.0);
    let theta = select(angle, PI / 2.0 - angle, steep);
    return vec3f(radius * cos(theta), radius * sin(theta), sqrt(saturate(1.0 - radius * radius)));
}

/// Directional albedos of D V F, at one angle and roughness.
struct MicrofacetAlbedo {
    /// For F = 1.
    unit: f32,
    /// For F = Schlick with F0 = 0.04.
    dielectric: f32,
    /// The mean of (1 − cos(wo, h))⁵ over the reflected light: `unit` · (F0 + (1 − F0) · this) is the albedo for any F0.
    grazing: f32,
}

/// Source: our own fit to quasi-Monte-Carlo integrals over visible normals (2¹⁶ points), over all cosines and α in [0.001, 1], in place of a
/// table: a constant array with a dynamic index is slow on software adapters. Largest error: `unit` 0.19 % of itself,
/// `dielectric` 0.0016 absolute; the tests hold it to that against integrals in double precision.
///
/// The loss of a smooth surface depends on cos / α only, so x = cos / (cos + α) is the coordinate in which the fit is smooth; it vanishes at
/// both ends of x. What is averaged of Fresnel's term is the cosine at the half vector that stands for all of them.
fn microfacet_albedo(cos_theta: f32, roughness: f32) -> MicrofacetAlbedo {
    let r = roughness;
    let a = r * r;
    let x = cos_theta / (cos_theta + a);
    let root = sqrt(x);
    let s = root * sqrt(root);

    let loss_numerator = (0.105729 + a * (-0.0318116 + a * 1.63841))
        + s * ((-0.0853403 + a * (1.03769 + a * -3.84752))
        + s * ((0.300681 + a * (-3.00925 + a * 4.07847))
        + s * (-0.341056 + a * (2.14951 + a * -1.12643))));
    let loss_denominator = (1.0 + a * (-0.0419179 + a * 0.177194))
        + s * ((-2.01916 + a * -0.198484)
        + s * 1.26838);
    let unit = 1.0 - saturate(s * (1.0 - x) * loss_numerator / loss_denominator);

    let half_numerator = (0.0604939 + r * (4.45325 + r * (-3.82569 + r * 0.881425)))
        + x * ((-0.0550893 + r * (-6.10757 + r * 1.51947))
        + x * ((-0.0261512 + r * 1.87877)
        + x * 0.0184171));
    let half_denominator = (1.0 + r * (3.89709 + r * -1.47406))
        + x * ((-0.783145 + r * -4.57079)
        + x * 0.741362);
    let cos_half = saturate(cos_theta + r * half_numerator / half_denominator);

    let m = 1.0 - cos_half;
    let m2 = m * m;
    let grazing = m2 * m2 * m;
    return MicrofacetAlbedo(unit, unit * (DIELECTRIC_F0 + (1.0 - DIELECTRIC_F0) * grazing), grazing);
}

/// The mean of 1 − `dielectric` over the hemisphere, weighted by the cosine: what makes the diffuse lobe's albedo d(wo).
/// Source: our own fit to the integral of `microfacet_albedo`; largest error 0.0003.
fn mean_transmission(roughness: f32) -> f32 {
    let r = roughness;
    return 0.915709 + r * (-0.0467627 + r * (0.408951 + r * (-0.467962 + r * 0.170565)));
}
