window.bookAnswers = {
"ex-adam-rank": {
"names": [],
"tolerance": 0.02,
"right": [
[
"1ccd51af7d42ef",
"ffb7fd4b106b5",
"a49a8f01d89e5"
],
[
"2ba31e957e617",
"acde1176fa844",
"1c93e55f099fc9"
]
],
"hints": {
"this is the participation ratio, or the rank, of G; with two terms the signs do not factorise": [
[
"1ccd51af7d42ef",
"ffb7fd4b106b5",
"a49a8f01d89e5"
],
[
"144fad01011e7c",
"57f31eb9332fc",
"17688901ff8d8e"
]
],
"this is the rank; most of the directions carry next to nothing": [
[
"1ccd51af7d42ef",
"ffb7fd4b106b5",
"a49a8f01d89e5"
],
[
"db7a737a53215",
"13e56c9779b1d0",
"1e682692c32f6e"
]
],
"each singular value comes twice": [
[
"1ccd51af7d42ef",
"ffb7fd4b106b5",
"a49a8f01d89e5"
],
[
"aa4acbe04b201",
"b36bf71e9c993",
"5b345357766c2"
]
],
"the sign of a product is the product of the signs": [
[
"166d32aea8d15e",
"1b0486ce58bce",
"fcc5e73c5c8e5"
],
[
"2ba31e957e617",
"acde1176fa844",
"1c93e55f099fc9"
]
]
}
},
"ex-best-step": {
"names": [],
"tolerance": 0.001,
"right": [
[
"8b591c113a4fc",
"178c365b5df94a",
"1681d2b3025af4"
],
[
"17043d663458d3",
"e5ab6b892b1e6",
"1f20fdaf71af6d"
]
],
"hints": {
"the label noise is missing": [
[
"ab37db90f6e6",
"18736a4e7ea690",
"649a368de7763"
],
[
"1880cb4087926e",
"1e493bb6c8732f",
"6c3d8c70b0d8"
]
],
"the output of the untrained network is missing: V is not one": [
[
"10ada270971f7a",
"ccb59975ef02a",
"e456bff7dac84"
],
[
"10b8336b9dd986",
"7f7f8802efd55",
"a966bfa4d857e"
]
],
"each of the two layers contributes sigma^2: the rate is half of that": [
[
"357b02b63b676",
"6231299e08913",
"197869a34d257e"
],
[
"17043d663458d3",
"e5ab6b892b1e6",
"1f20fdaf71af6d"
]
],
"the second is to be the loss itself, not in units of that at the start": [
[
"8b591c113a4fc",
"178c365b5df94a",
"1681d2b3025af4"
],
[
"1542b779c45e4a",
"ebd886cd36f5a",
"3c6c90141e1bc"
]
]
}
},
"ex-border": {
"names": [
"init_variance",
"learning_rate"
],
"tolerance": 0.02,
"right": [
[
"ab5e35fe8d6ab",
"e1e7738985a92",
"ed3c444a658d1"
],
[
"7b44e5458cf7e",
"19ec4a0b11b003",
"7539304f44653"
]
],
"hints": {
"these are slopes of gamma_c itself; divide by it": [
[
"1752a1e3a749c2",
"110e3770cd4902",
"6a9c0963bf9eb"
],
[
"1358518734d7db",
"1fafb806d9a37c",
"2a80d6b056189"
]
],
"percent for percent: both sides by their logarithms": [
[
"44df017eaf99f",
"14bc4c747e77ec",
"1c8b3bcc59db04"
],
[
"18b4ff9103bc3c",
"c3768bc7aa307",
"11ff6bb0524bb8"
]
],
"the step up and the step down are twice the logarithm apart": [
[
"44df017eaf99f",
"14bc4c747e77ec",
"1c8b3bcc59db04"
],
[
"a6bc5b57b1ad7",
"192e968f774652",
"1fc7acf4e54f1a"
]
]
}
},
"ex-cheap-outliers": {
"names": [],
"tolerance": 0.001,
"right": [
[
"a5997df6386c",
"3059aee44e38d",
"56d031e02db73"
]
],
"hints": {
"this is the ratio of the strengths; energies are their squares": [
[
"70791084ac529",
"13c9167755d7ca",
"b5ef8dfb8cc49"
]
],
"the other way round: how much more the independent one costs": [
[
"90bc0b4e39ef2",
"a6ecfce0d3306",
"965513f7b2942"
]
],
"this is a difference; wanted is a ratio": [
[
"5941aead40493",
"a55e841cb64f8",
"3cef25df6a7db"
]
]
}
},
"ex-depth-forgets": {
"names": [],
"tolerance": 0.003,
"right": [
[
"1e1c2dd1a18299",
"160ed5e6c84937",
"156f0e9e96c34e"
],
[
"a36a561557d14",
"a3b8b3eeab904",
"22655a1624863"
],
[
"2d3b6e8750c7a",
"cd735664bbebb",
"97b6f3e00e295"
],
[
"591dab2cdf4b9",
"63bf2f11c01aa",
"50608c15c5137"
],
[
"309cc952c6802",
"138f81f14c89dd",
"101604cb3022b0"
]
],
"hints": {
"this is in radians": [
[
"4c851e532d8c8",
"1a4db3b1ba0334",
"19479b93b246c8"
],
[
"101fd93eb072c0",
"182087fc5460fe",
"491e43ed17068"
],
[
"fd087caa4fca5",
"92763d2e17467",
"f01656e2fa2a0"
],
[
"cc5a10cf1f2d5",
"d9e01d1e159fe",
"118ec625ccd2be"
],
[
"2af8e303133b8",
"180e2a4b201b28",
"d1b8235f03f04"
]
],
"with sigma^2 = 2 the square is kept, and the cosine is twice the kernel": [
[
"67d3d98bf8d43",
"828dbb27d3759",
"728f22193a0c8"
],
[
"18e76c52f41f8b",
"1d2908ec881171",
"158b7c63edd8ac"
],
[
"13e7372f2a5eb1",
"1a4c68d7aaa88d",
"3e62eb09422ba"
],
[
"1b0a24713de4f0",
"1a4587ece4e8e3",
"4ad225c12fc48"
],
[
"1b90895303bf6d",
"be625c25354f8",
"277b4a03185b7"
]
],
"these are one layer behind: the right angle is before the first": [
[
"6380a052416ff",
"f9235a208c984",
"49bfaebc68719"
],
[
"184b8476eb0724",
"2d7097f9caf48",
"172685fc8ae38c"
],
[
"6ad371f51aacb",
"1a52087bb07aa",
"634a578616ab5"
],
[
"dc386abea8a5",
"28c8fa2262fc1",
"1bb5fcc32b9cb"
],
[
"33b36d70c3e8f",
"6c78cf3ab553b",
"102831d4ba3951"
]
],
"these are cosines": [
[
"13d2fbb6bc0c2c",
"a3642d56075f7",
"13a92ff55f5798"
],
[
"18c2ec1617ca6f",
"54026bd82ae14",
"3fc49094b7919"
],
[
"2697c521356a8",
"f0b28e9a8e071",
"d727f3373280d"
],
[
"c65278413c4fc",
"ff68351c9dd25",
"6698206a1f156"
],
[
"101527f84761f5",
"754ab79160950",
"1ef3c636ab1c0"
]
]
}
},
"ex-determinant": {
"names": [],
"tolerance": 0.001,
"right": [
[
"14f0a0a978a0a",
"a120bfdcdfb76",
"120da8c81cce22"
],
[
"13ff8e1dfb4cc0",
"6b747680a96e3",
"1211f6550e0899"
],
[
"1d4c1529faa6cb",
"16d7115106959c",
"3083ab46a3801"
]
],
"hints": {
"the entries have the variance 1/n, not 1": [
[
"aa26c805d7f84",
"38d8dc6783079",
"1e47ab6b6f63d0"
],
[
"1d72f98899d520",
"4535008a5ab53",
"d77c82cee19c2"
],
[
"c0212d9501f5",
"15844e3a05297f",
"6482183af74db"
]
],
"the orders of the chi numbers fall: n, n - 1, ..., 1": [
[
"1dbd47082c8b86",
"4fd05d0ab09b8",
"1300cd59bb123e"
],
[
"7acc051e23acb",
"15a488a1f836c2",
"1ca98ca90bf761"
],
[
"13f5a9c6ac18a4",
"aa3f7673d1956",
"dc77e246a2923"
]
],
"the mean of the square of a chi number is its order": [
[
"1dbd47082c8b86",
"4fd05d0ab09b8",
"1300cd59bb123e"
],
[
"2bd28ffd4aadc",
"1e3cf5ea11973e",
"1865598db6cd54"
],
[
"5c35270874d7e",
"15a916b4c8740e",
"86bc6c878bb59"
]
]
}
},
"ex-drowning-width": {
"names": [],
"tolerance": 0.0001,
"right": [
[
"1e464f7a7fa55a",
"1475a00236c242",
"f6a62e076e25e"
],
[
"ca20942a102be",
"1ef4d1435d7689",
"2dd080273144e"
]
],
"hints": {
"W^0 escapes at Lambda = sqrt(nu), so it drowns at the square": [
[
"150c34b025b444",
"7861ac4d080ae",
"b5c3601cea3ff"
],
[
"ca20942a102be",
"1ef4d1435d7689",
"2dd080273144e"
]
],
"this is without the second term in the bracket of Lambda_l": [
[
"1e464f7a7fa55a",
"1475a00236c242",
"f6a62e076e25e"
],
[
"12038268fb57ac",
"56e7f738980e8",
"13716d8ae31f0d"
]
],
"the other way round: the first is W^0": [
[
"1cb59d63db4f6e",
"1c06470266f13a",
"149dc94503fbce"
],
[
"1806bda0c90217",
"16b262037d31ad",
"206ff1ad91c60"
]
],
"W^1 is square: its edge is at Lambda = 1, whatever the width": [
[
"1e464f7a7fa55a",
"1475a00236c242",
"f6a62e076e25e"
],
[
"1806bda0c90217",
"16b262037d31ad",
"206ff1ad91c60"
]
]
}
},
"ex-edge-tail": {
"names": [],
"tolerance": 0.001,
"right": [
[
"161720dee09950",
"1063a86cc4e2a3",
"1ae25c72e7cfcf"
],
[
"4b948a63ef613",
"1e9eaa1a09c4ec",
"45ed0d6f28905"
]
],
"hints": {
"the constant lacks Gamma(1 + b)": [
[
"16a2e2b190efa4",
"3c0af21d922f9",
"1ff4986a451224"
],
[
"4b948a63ef613",
"1e9eaa1a09c4ec",
"45ed0d6f28905"
]
],
"sqrt(4 - x^2) is about 2 sqrt(2 - x) at the edge": [
[
"c7e4adade2025",
"13059cccf6f735",
"6d7a2e84fcb32"
],
[
"4b948a63ef613",
"1e9eaa1a09c4ec",
"45ed0d6f28905"
]
],
"the tail is tau^(-1-b)": [
[
"161720dee09950",
"1063a86cc4e2a3",
"1ae25c72e7cfcf"
],
[
"1acfe98e8052d",
"2f94aaa44294b",
"1699b448ee76e"
]
],
"the tail is tau^(-1-b), not tau^(1-b)": [
[
"161720dee09950",
"1063a86cc4e2a3",
"1ae25c72e7cfcf"
],
[
"1c7aa2b8978880",
"1c7a95a07fea55",
"177268618428b9"
]
]
}
},
"ex-effective-strength": {
"names": [],
"tolerance": 0.001,
"right": [
[
"1e67c350384321",
"f32f66f04d635",
"1b03c680534f90"
]
],
"hints": {
"this is the strength that a stranger needs": [
[
"e54d3370cd5a5",
"1a7a5999330de0",
"115ca3ccc29cff"
]
],
"this is the linear map, g = M_0 h": [
[
"17e158f0b40e4",
"ec35c5ff3bb49",
"16c295bdc5818c"
]
],
"the response enters with a factor 2: G theta^2 + 2 B theta = 1": [
[
"19b5b84a6547e1",
"1ba0a740b1c1b6",
"f8494118f627a"
]
],
"this is the size of the negative strength": [
[
"1ee053b7ed0bbd",
"109634f4774e54",
"a10c9e66a78f9"
]
],
"this is the negative strength": [
[
"ec9780c1b07ab",
"15cbc419799e1d",
"a52fe2cf74a68"
]
],
"this is tanh scaled to <g^2> = 1; wanted is tanh as it is": [
[
"1754e14b430b09",
"1ca4b86d27d4fa",
"b0658c451db1b"
]
]
}
},
"ex-fastest-momentum": {
"choices": [
"\\left(1 - \\sqrt{x}\\right)^{2}",
"- \\sqrt{x} + x + 1",
"1 - \\sqrt{x}",
"\\left(\\sqrt{x} + 1\\right)^{2}"
],
"right": [
[
"1463242f2c905b"
]
],
"hints": {
"this is the factor of a step, of which the momentum is the square": [
[
"6c3ea06426b9d"
]
],
"the other end of the range in which a direction swings": [
[
"a38d402fa3f8d"
]
],
"this is the x at which a direction of momentum x begins to swing, turned round": [
[
"15053cb2b45b03"
]
]
}
},
"ex-for-ever": {
"names": [],
"tolerance": 0.001,
"right": [
[
"10b010856aa22b",
"1404557d73ccf4",
"540b59ef2d6f1"
]
],
"hints": {
"the label noise moves the predictor as well": [
[
"72908f5a4e2f9",
"977fdbf207f14",
"38baece2863ca"
]
],
"V is the whole loss before training, with the output of the untrained network": [
[
"cad63e1285048",
"1a77b7a58d34ae",
"1e983306e38397"
]
],
"each of the L + 1 matrices learns its share only": [
[
"1d5e48b6fd5a91",
"e289736355d7f",
"1eff45daf4817a"
]
],
"this is the strength; the width enters it as a root": [
[
"b07ceae4318d7",
"17d82d04d862d5",
"133293e3a3c743"
]
]
}
},
"ex-half-echo": {
"names": [
"at (s, rho) = (2, 0.5)",
"at (s, rho) = (2.5, 0.3)"
],
"tolerance": 0.001,
"right": [
[
"171cac1c19b39d",
"1a111465b303e8",
"1e95d77403a01b"
],
[
"4fead0ceb029a",
"2e403af251282",
"19279836ce378"
]
],
"hints": {
"this is Wigner's response: the echo is weaker by the correlation": [
[
"57256093a4192",
"f1e7f53022985",
"16d53b31170adc"
],
[
"17d24cba08d894",
"144fe8e9f4309d",
"ad0a8d3e91ace"
]
],
"this has no echo at all": [
[
"cc961fae6261a",
"14a11b8c8338d2",
"1dae6f99378b2"
],
[
"ba1bfad8fc824",
"11e7b5fca7e0bd",
"2d280ed58df90"
]
],
"divide by rho: the coefficient of the square is not one": [
[
"1cd4ccef380e27",
"145472a11dcc7d",
"2f2562b2dcb7"
],
[
"138a7148ed913e",
"e1885b60578cc",
"10810577a128b7"
]
],
"the other root does not vanish at large s": [
[
"dd0aa40c8364b",
"1cf2e21589fcef",
"11603e88af7f75"
],
[
"8e9bcc26b4881",
"10f9ef55732e03",
"fb3776c80d51c"
]
],
"the correlation enters once, not squared": [
[
"f2756744c48a0",
"1400521d0ebe9b",
"a7612fbeab7e9"
],
[
"1c08bdd4eca747",
"313ed10f43779",
"2341431357a11"
]
]
}
},
"ex-hard-edge": {
"names": [],
"tolerance": 0.001,
"right": [
[
"1f38fa872c9889",
"aed8f96f35c6c",
"1247003f153cbb"
],
[
"1df8d421d6802f",
"a8ba68e1e4e4e",
"17aa7f466b10b9"
]
],
"hints": {
"this is the estimate by counting; take the mean of Edelman's law": [
[
"13ce92914a1e71",
"140965cbb0ead7",
"16f4ccfaf23793"
],
[
"1df8d421d6802f",
"a8ba68e1e4e4e",
"17aa7f466b10b9"
]
],
"this is the median; the mean is the integral of the probability": [
[
"bfa6c8c77c0ad",
"19acb30223599a",
"14fc458cae4f02"
],
[
"1df8d421d6802f",
"a8ba68e1e4e4e",
"17aa7f466b10b9"
]
],
"the condition number is a ratio of singular values, not of eigenvalues": [
[
"1f38fa872c9889",
"aed8f96f35c6c",
"1247003f153cbb"
],
[
"13c38b56b8fae2",
"a818f424d7e8a",
"12b35219061012"
]
]
}
},
"ex-input-layer": {
"names": [],
"tolerance": 0.001,
"right": [
[
"1ad69b16b879fe",
"1b825b05a26c96",
"130e8fb21221f1"
],
[
"a95e604415cc7",
"748106942b1f1",
"14d5d2462d2f26"
]
],
"hints": {
"the aspect is rows over columns, n/m = 8, and not 1/8; the unit is that of W/sqrt(fan-in)": [
[
"14991b36d96ad2",
"1c8348aa760db3",
"2e4c60a91bb20"
],
[
"42ae5d3dec027",
"1eb7a178e28f48",
"124bce4e26780b"
]
],
"these are eigenvalues; singular values are their square roots": [
[
"541900ef1aafd",
"7e5c993366bb6",
"b2c7f15d506f5"
],
[
"ed5d45e72f016",
"1cc3288add40e1",
"b6d412f3f2c"
]
],
"these would be the edges of a square matrix": [
[
"1d1613bdf3083a"
],
[
"15b4ee09cef4d1",
"ee0a157c8676f",
"e8518e466df30"
]
]
}
},
"ex-kernel-ends": {
"names": [],
"tolerance": 0.001,
"right": [
[
"fc4b2354ef3ed",
"683ea71013f72",
"145e5cea74671f"
],
[
"11a15b169cc314",
"12d4fd48cfacbd",
"6e607c5a6ab4a"
]
],
"hints": {
"this is the feature kernel k; the tangent kernel is twice that": [
[
"7348a0a2c93ed",
"1e9b3945e35622",
"39c86de387168"
],
[
"13aa1ddecc52ea",
"1e05ca8a04c61f",
"1aed6537023bee"
]
],
"the other way round: the first is that of large steps": [
[
"a4b3a328281ac",
"b85bc7871af92",
"355ac69cc652d"
],
[
"13c147608c853c",
"c005a2d4cd6fd",
"c7cef1f1628ac"
]
],
"large steps lose some of k^2 - gamma0^2 q f^2; the two are not the same": [
[
"a4b3a328281ac",
"b85bc7871af92",
"355ac69cc652d"
],
[
"11a15b169cc314",
"12d4fd48cfacbd",
"6e607c5a6ab4a"
]
],
"this is the kernel of the start": [
[
"40c7515bed751",
"1ec8ab66cbfa0f",
"9eb86e2b694aa"
],
[
"3d1dc8bc4c4eb",
"21ff7cf2658a9",
"49344ab25a72b"
]
]
}
},
"ex-left-out": {
"names": [],
"tolerance": 0.0002,
"right": [
[
"19616816fad833",
"1f6db6e02fb9ea",
"141b5d9d6981f2"
],
[
"3741067ea35a",
"1a12967fdcefce",
"11209b71a32a05"
]
],
"hints": {
"the other way round: the first is that of all four queries": [
[
"1a5d3adaf7ca7",
"11e522cf704139",
"22d59f135bfa9"
],
[
"587da78fc23e8",
"11543b1c29689c",
"e7fbd14b6fc3c"
]
],
"both are the short list; give all queries, two of them with zero strength": [
[
"1a5d3adaf7ca7",
"11e522cf704139",
"22d59f135bfa9"
],
[
"3741067ea35a",
"1a12967fdcefce",
"11209b71a32a05"
]
],
"from_vectors wants M_0; it adds the spike itself": [
[
"642f4d3f64712",
"1a7cbe83ae74d0",
"54baab34ef634"
],
[
"196417b41501cb",
"c634d7dd60d42",
"1af05e1a9f1ed6"
]
],
"g_1 h_1^T is no spike: its strength is zero": [
[
"d42144088eb0f",
"123595cd8f7e36",
"1688e1b351516c"
],
[
"3741067ea35a",
"1a12967fdcefce",
"11209b71a32a05"
]
],
"the second is a formula for strangers; g_2 and h_2 are none": [
[
"19616816fad833",
"1f6db6e02fb9ea",
"141b5d9d6981f2"
],
[
"ce01e9a0ad911",
"120cabaadf1c3c",
"3209cc144a46f"
]
]
}
},
"ex-lower-bound": {
"names": [],
"tolerance": 0.001,
"right": [
[
"f85b437f6b0c8",
"101a28d9cf3e06",
"c3c1f151f25a3"
],
[
"1b91853fcf59b4",
"1af5c572dbfd96",
"2ea8fbdd4824d"
]
],
"hints": {
"these are the true thresholds; wanted is where the bounds reach the edge": [
[
"a80d77af95262",
"b573aead08ab3",
"4dbdc40ea95d2"
],
[
"1d17b3f8a8f1ef",
"80822a81d3d2e",
"d6b1d675ffe8c"
]
],
"(a) forgets that M_0 v, of length 1, is there as well": [
[
"a954c9e770398",
"27a08bb6c1c1c",
"192b72f5d4b3e3"
],
[
"1b91853fcf59b4",
"1af5c572dbfd96",
"2ea8fbdd4824d"
]
],
"(b) M_0 v and its multiple are parallel: lengths add, not their squares": [
[
"f85b437f6b0c8",
"101a28d9cf3e06",
"c3c1f151f25a3"
],
[
"361d0fb83a914",
"7d202888d3c40",
"d6eb2abda9ce3"
]
]
}
},
"ex-merge": {
"names": [],
"tolerance": 0.02,
"right": [
[
"165a8db5d658de",
"139e0d4b8589fc",
"1eb679a0341326"
],
[
"88655b0186533",
"d2bfe999be621",
"1b362bd18f454c"
]
],
"hints": {
"these are outputs over inputs; wanted is C/N": [
[
"b2c2dcc8da211",
"10a781edade4d2",
"5883e369e5473"
],
[
"1ef03255f784b",
"1d941db2eb81c8",
"1d541299a3424c"
]
],
"the other way round: the first is that of 15 steps": [
[
"61ec1b5994567",
"126b0aa28f4b48",
"1263add97c812d"
],
[
"16d0b89603c04",
"8c90ec8a5051d",
"1170cdc2092383"
]
],
"training longer does change it": [
[
"61ec1b5994567",
"126b0aa28f4b48",
"1263add97c812d"
],
[
"88655b0186533",
"d2bfe999be621",
"1b362bd18f454c"
]
],
"wanted is C/N after 15 and after 30 steps": [
[
"61ec1b5994567",
"126b0aa28f4b48",
"1263add97c812d"
],
[
"3ba8a5e70a21a",
"104a4a9fa86215",
"8357dbbc5ab85"
]
]
}
},
"ex-momentum": {
"names": [],
"tolerance": 0.001,
"right": [
[
"118234b404b324",
"6cb554c30cd59",
"8633ab235ac1f"
],
[
"1b37a7927fab7d",
"2fa56fdfa002c",
"a9f3358f20a11"
],
[
"3f3b840060068",
"792b8dd090430",
"10590ee83981db"
]
],
"hints": {
"these are the errors one step earlier: t counts updates": [
[
"1e085cb75c5e48",
"8977dea59f4b9",
"1f1055ceb08a9d"
],
[
"15cbbff1b4476f",
"1c6a3f41575bd",
"12c815ead2b74a"
],
[
"e893fa64ab97e",
"7442252ddf362",
"18fc1df2204e73"
]
],
"this is plain gradient descent; q keeps mu times what it was": [
[
"1d136045e78573",
"5481c70329fff",
"14e24a94e22669"
],
[
"1b1887052f9ace",
"84a391f7cac38",
"ecc0578db7a1d"
],
[
"366a1192d7ca5",
"af5ee38a763bb",
"19404c451b44af"
]
],
"epsilon is 1/2, so the noise has variance 1/4": [
[
"11f51422aa10d",
"198a34d7cba7e",
"16217383ca103c"
],
[
"1b0c455d3a3a2c",
"192f34039672a9",
"ee6bbe544127b"
],
[
"1e3142188a8140",
"1f1aa5c8517b19",
"867237b90d4c"
]
],
"the labels have noise as well": [
[
"5641e0edfa5fe",
"b3ea06c92870b",
"e355f974feef7"
],
[
"130d920e5cd25d",
"19d92aa2a3ab9f",
"b35b615520b62"
],
[
"3b2b98b8725f8",
"2358b79cee254",
"1819a54476fd4a"
]
],
"the new gradient enters in full, not with weight 1 - mu": [
[
"17f96482172d4d",
"c44db2ec2999b",
"4eea99cf0e5a2"
],
[
"d413d1d553c41",
"36c4a55b8a42c",
"1602f51c79523f"
],
[
"22c16d63fb457",
"1ad0f1ce74e22e",
"4bcd7cb5afa8a"
]
]
}
},
"ex-muon-factor": {
"names": [],
"tolerance": 0.001,
"right": [
[
"1f51e92bb3f55e",
"15820cc96da1f5",
"7de6e5fe9fd87"
],
[
"9c34cbcfdb581",
"1212e46c7853c4",
"104a7b32a260cc"
]
],
"hints": {
"it is the product of rate and factor that stays": [
[
"1a572495580ca8",
"6bc48fed9c9d",
"1d76201f4033f5"
],
[
"9c34cbcfdb581",
"1212e46c7853c4",
"104a7b32a260cc"
]
],
"the factor goes with the root of the width": [
[
"168c23629e2bc9",
"131dd6ce44a26e",
"1a2300878ac447"
],
[
"9c34cbcfdb581",
"1212e46c7853c4",
"104a7b32a260cc"
]
],
"without the factor the rate has to make up for it": [
[
"1f51e92bb3f55e",
"15820cc96da1f5",
"7de6e5fe9fd87"
],
[
"df61e4bae5349",
"fe7f61659b5a0",
"24d56c92de80d"
]
]
}
},
"ex-muon-first-step": {
"names": [],
"tolerance": 0.001,
"right": [
[
"713e3e4c241e3",
"7c25991454d5",
"1401ff584d9c1d"
],
[
"188cb5d8903e94",
"5dc95770b1625",
"176aaa0cc4cef0"
]
],
"hints": {
"this takes five steps to make one of one": [
[
"166ea0a4f53e62",
"6ac71e66b3f25",
"f49abaabcf131"
],
[
"188cb5d8903e94",
"5dc95770b1625",
"176aaa0cc4cef0"
]
],
"the standard deviation is the root of the variance": [
[
"15dce5981551f6",
"9c8d0f18029a6",
"77ae11688fd6d"
],
[
"10f8c3278167c6",
"66edf81a24e26",
"1362abedc49e42"
]
],
"twice the rate is not twice the outlier, which begins at the edge": [
[
"713e3e4c241e3",
"7c25991454d5",
"1401ff584d9c1d"
],
[
"146595384935b9",
"5fda49e18a77b",
"18d89792e6e287"
]
]
}
},
"ex-muon-small": {
"names": [],
"tolerance": 0.001,
"right": [
[
"6b8cde77706d8",
"11ecea51245d5f",
"11bb949718349b"
],
[
"170852dfe1c093",
"1007e3d2f89304",
"11d6b64ac367b4"
]
],
"hints": {
"that is the slope alone, without the third and the fifth power": [
[
"84afd47da994",
"648a7e41d0d71",
"1f88b1dc31bdc0"
],
[
"170852dfe1c093",
"1007e3d2f89304",
"11d6b64ac367b4"
]
],
"that is the exact polar factor": [
[
"b7fc4150e612",
"1872391756274",
"f0302a2e0e9d2"
],
[
"f93775d24eb5e",
"2df70b56b7d56",
"bb287c1666413"
]
]
}
},
"ex-negative": {
"choices": [
"\\frac{- B + \\sqrt{B^{2} + G}}{G}",
"\\frac{- B - \\sqrt{B^{2} + G}}{G}",
"- \\frac{2 B}{G}",
"\\frac{- \\frac{B}{2} - \\sqrt{\\frac{B^{2}}{4} + G}}{G}",
"- \\frac{1}{\\sqrt{G}}"
],
"right": [
[
"17d02ab2f7b6cf"
]
],
"hints": {
"this is the positive strength": [
[
"1565f4191fa966"
]
],
"the response enters with a factor 2: G theta^2 + 2 B theta = 1": [
[
"2bf14ad8fa8f9"
]
],
"this is the strength of a stranger; the response is missing": [
[
"74e219748dac0"
]
],
"here the effective strength vanishes: the spike has only undone what M_0 does": [
[
"1b1ba430b55804"
]
]
}
},
"ex-ntk-depth": {
"names": [],
"tolerance": 0.001,
"right": [
[
"1f53ec47b45d7b",
"19e2152c7ef791",
"1bd00b7e2f134e"
],
[
"1a33ab7038ba31",
"170cad5ccdbe6f",
"e57cf45f04dac"
],
[
"27a5efcad051c",
"82b4c19e3b4b3",
"b5fcd2c179c7f"
],
[
"165e7e79f98ded",
"1c999faecc690e",
"320e4496bc5d4"
],
[
"18d2b14627a8eb",
"18f020e14c9045",
"187758352a9915"
],
[
"12eab761096597",
"435c0c4db4014",
"161eb8bc8eb33b"
]
],
"hints": {
"this is nu = 100": [
[
"1ff1f6bd2ccdf4",
"176fe748f3782d",
"2ce4b6a1b76e8"
],
[
"1b4d423c759344",
"18a08bc29e5970",
"c4f3bde41079d"
],
[
"19a78e83814b53",
"d82bb752409c3",
"32e57513300ce"
],
[
"1575f4f20bd269",
"1155d02c98d847",
"55df6386473a3"
],
[
"19b27fcd996fe",
"18f26589720fb6",
"8853d26955545"
],
[
"cef5235fff6ff",
"18abc8100e860",
"5d844251e21d"
]
],
"this is infinite width": [
[
"d872702a364ab",
"19ca5204e5b55",
"7c7b0586386d7"
],
[
"bcefd8f269509",
"14093e4cfe7580",
"b67953260f4b3"
],
[
"f4965c5900e4",
"1d2a7844dba8a3",
"1544b179c3f448"
],
[
"19686b1ced9c40",
"e577e404df5eb",
"15b9c60af2903d"
],
[
"1a645d977522c3",
"1b80cf31819476",
"14011691763fd1"
],
[
"d0d00a08c059e",
"e9a70ffa364a8",
"85d348841fd35"
]
],
"an eigenvalue of K is z/alpha": [
[
"11829fd9f92496",
"42fb9720b2cdf",
"83a397afbc9e"
],
[
"1f27f5a21ab003",
"1b2461f3860ea6",
"c6e43fa2f2cf4"
],
[
"6775e8fd35ad7",
"d89bed4a8b65e",
"387cad430c4cd"
],
[
"115bf55629288a",
"1bf192153b55ea",
"135e781f828909"
],
[
"1e6104f9e54817",
"13ceaf7d85eb28",
"1862b1dc8979f5"
],
[
"cf0a74fab68ca",
"1095e2599bb6ea",
"1beed02cd0fcb5"
]
]
}
},
"ex-ntk-shares": {
"names": [],
"tolerance": 0.001,
"right": [
[
"124058ac4c229f",
"1aa0e5f185eccd",
"71bb48c09f7ed"
],
[
"1a7efca99dae0c",
"11a44acadd8502",
"5b3916b69f5c1"
],
[
"2d251954d9f25",
"1894fdd109650e",
"1e8cf8d07b7917"
],
[
"1eaafb215865c",
"19a834842c03b8",
"e9b1bdb3ffea5"
]
],
"hints": {
"the second is with a_0 moved, the third with a_1": [
[
"124058ac4c229f",
"1aa0e5f185eccd",
"71bb48c09f7ed"
],
[
"1a84fe23f97d71",
"18eddddb01ec9b",
"fdb01c18ba8bc"
],
[
"77308c541b1f7",
"1d98dbf20ffc10",
"1354511861e83d"
],
[
"1eaafb215865c",
"19a834842c03b8",
"e9b1bdb3ffea5"
]
],
"an eigenvalue of K is z/alpha": [
[
"983e492506919",
"30492f022118e",
"ebc7306ee7f4f"
],
[
"1acc22eb3db711",
"17013448891e87",
"c2452b7e8e5db"
],
[
"78670011f4bb9",
"121f18dc13a83c",
"4d38a10a76d79"
],
[
"183f59183600f1",
"16d714fe37c609",
"10ae4e06c785ef"
]
],
"the effects do not add up; compute each edge": [
[
"124058ac4c229f",
"1aa0e5f185eccd",
"71bb48c09f7ed"
],
[
"1a7efca99dae0c",
"11a44acadd8502",
"5b3916b69f5c1"
],
[
"2d251954d9f25",
"1894fdd109650e",
"1e8cf8d07b7917"
],
[
"1bcb6d332a8d1b",
"11405d3d3c873a",
"b3ba281720b29"
]
]
}
},
"ex-ntk-threshold": {
"names": [],
"tolerance": 0.001,
"right": [
[
"19f23950a7cf67",
"180d1ac9f360b4",
"1d789d07daf4da"
],
[
"14132803eb3d5",
"7bec8c086e4f7",
"176b8fa798e29b"
],
[
"c4f83c4aa6fa1",
"3baf02711d726",
"1942ec659000c2"
],
[
"6df9843ff4914",
"1592f6a3e549af",
"81b68d3905c0c"
]
],
"hints": {
"this is where the spike leaves the bulk of M": [
[
"18972ac371beda",
"c6ddbf82d236a",
"c4cad15e29741"
],
[
"431ab354c5229",
"11f82d364bed2",
"e664e111533bb"
],
[
"139fd9b8658e35",
"1810f3759a4030",
"3dc01d8a0c08f"
],
[
"1592f6a3e549af",
"b18b18708841",
"6df9843ff4914"
]
],
"these are theta^2": [
[
"18874926dff687",
"e1694ecb02f29",
"19a12200285f88"
],
[
"1c4547721f5946",
"b492ef7256edf",
"14a572df1de348"
],
[
"f2b168de4eee",
"536700ace8b07",
"32ea7d7662546"
],
[
"af388ab8d1ccf",
"153d15d2d9c4da",
"bf2570cac55cb"
]
],
"a_1 is 1/nu": [
[
"82fdfde6b6171",
"101f0b3a7772b",
"1f206a526d4c08"
],
[
"8e17019a73fc1",
"bb13c58befde3",
"2deb9c27b96c1"
],
[
"1804b6e47dd180",
"13b36d7e899ac5",
"9f68319b1870b"
],
[
"1397241b6e966c",
"a5a0907a367f2",
"17ab9abdd875e4"
]
],
"these are the x of the edges; solve for theta": [
[
"868e0784a7e94",
"190a8779d90e36",
"42fdd1443457a"
],
[
"133785a14ad44c",
"1c0c9415419ca1",
"149478ede1848a"
],
[
"ace8c597df614",
"1b9b290e80314e",
"87132cb6d789c"
],
[
"cd0bdf95d0612",
"1379ab9575bf27",
"107e5bff051ca"
]
]
}
},
"ex-one-echo": {
"choices": [
"c^{2}",
"\\frac{c}{c + 1}",
"c",
"- \\frac{c}{c + 1} + 1",
"\\frac{\\sqrt{c}}{\\sqrt{c + 1}}"
],
"right": [
[
"1e0d892d067f94"
]
],
"hints": {
"this is the share of the noise": [
[
"bf369fcc6d3bc"
]
],
"this is the ratio of echo to noise; the share is of their sum": [
[
"6b7b38d82eb6d"
]
],
"amplitudes are to be squared": [
[
"f4041c6e8e3e1"
]
],
"this is the echo itself; divide by the whole": [
[
"1991f71d5994af"
]
]
}
},
"ex-one-step": {
"names": [],
"tolerance": 0.001,
"right": [
[
"3edec75706b9a",
"1f397d1bbff90",
"f107769c4858b"
],
[
"17e53597a9da6a",
"e9f4446bd285a",
"90da178b81a24"
]
],
"hints": {
"these are independent spikes: the term -2 sigma^2 is missing": [
[
"1bc9ffcf32c630",
"53a3c4ab974ec",
"c95185b70aef9"
],
[
"1fd7bbb7266182",
"f2adddf06054d",
"8570fe4c0472a"
]
],
"the other way round: the first is W^0": [
[
"3aca79f2bf016",
"363f62bb5448e",
"41b9b3911bb5a"
],
[
"14bc24a2a90df2",
"a1577f1fa8416",
"1a5a694be28ca7"
]
],
"the aspect of W^0 is nu, and its edge at Lambda = sqrt(nu)": [
[
"50a1cc54865c",
"d7df223136786",
"1974935fb3b640"
],
[
"17e53597a9da6a",
"e9f4446bd285a",
"90da178b81a24"
]
]
}
},
"ex-one-step-enough": {
"names": [],
"tolerance": 0.004,
"right": [
[
"1cb90df7be7fe8",
"156884a0a64851",
"1cf4fd6f34e4b4"
],
[
"b9162878c8cc9",
"3c4368918331e",
"647c0c30da55a"
]
],
"hints": {
"gamma0 is 2, and makes the spike stronger": [
[
"2a91239330643",
"1430145cfc78c4",
"7a7b8928fae89"
],
[
"b9162878c8cc9",
"3c4368918331e",
"647c0c30da55a"
]
],
"the strength is the root of G Phi": [
[
"9cb8b286ce1cc",
"74d91d58b5ca8",
"145410da320a85"
],
[
"b9162878c8cc9",
"3c4368918331e",
"647c0c30da55a"
]
],
"training is stable up to 2 over the largest eigenvalue, not 1": [
[
"1cb90df7be7fe8",
"156884a0a64851",
"1cf4fd6f34e4b4"
],
[
"264a3b33a2f41",
"1dc7654b142ee3",
"125d268cb4778b"
]
],
"the kernel has three terms, one for each matrix": [
[
"1cb90df7be7fe8",
"156884a0a64851",
"1cf4fd6f34e4b4"
],
[
"1c875eb1bdd161",
"85fd171516c74",
"1c1f8fbc4a91f8"
]
]
}
},
"ex-online": {
"names": [
"at (eta, alpha, noise_variance) = (0.1, 0.5, 0.25)",
"at (eta, alpha, noise_variance) = (0.3, 1.5, 0.25)"
],
"tolerance": 0.001,
"right": [
[
"1750e9a458c082",
"1a12011cd2f18d",
"afbd0210209a8"
],
[
"1a6bb9d3ff25a4",
"118b328979b050",
"2579b66c04295"
]
],
"hints": {
"this is the limit of small steps": [
[
"10aa340b111635",
"b18427e204f95",
"129294b52a3996"
],
[
"d09e27faca173",
"1af72586537f96",
"11a7a1e200b2a1"
]
],
"the argument is the variance of the noise: do not square it": [
[
"289159888320",
"1d79f26159b393",
"1a03d0f92691ef"
],
[
"c1fbc9737ecde",
"1199a30d6ee549",
"1a52c0e41f568e"
]
],
"this is what one step adds; the steps before it have left theirs": [
[
"13e644c7e28154",
"14c40c822086c4",
"dfa6d2269e1e5"
],
[
"1ada27175d94d2",
"dc70c38a43eda",
"d4eb0e7a2a2ab"
]
],
"the noise of the inputs is missing: Delta contains v itself, not the labels' noise alone": [
[
"a751a5fc72720",
"fde659966e024",
"12bf245e3ad87f"
],
[
"98b40547c9a02",
"a7b5d62b7fe79",
"1edf21168da13a"
]
]
}
},
"ex-outlier-overlap": {
"names": [],
"tolerance": 0.05,
"right": [
[
"17f14f627043d2",
"12e60a15fbfe37",
"2de84f1f2d1d7"
],
[
"7d05aa0eadfc0",
"156c0d7110c49f",
"a2622717e6dc5"
]
],
"hints": {
"these are the overlaps of the left vector with the gradients": [
[
"1db37120a3b030",
"a108228fc6799",
"1c0f7ff7896462"
],
[
"173ce0f40b9ebc",
"e8ba832e6e000",
"156c0d7110c49f"
]
],
"take the mean over the four images, not the sum": [
[
"1a86e14bd634d3",
"6a73a9b65a9fc",
"1d409b82c4ebbe"
],
[
"34ef25995e1e8",
"149c34c6e3c9dc",
"1ddbfd6549c807"
]
],
"the other way round: the first is that with the features of the start": [
[
"1e1d05b447d055",
"1d409b82c4ebbe",
"23c31f7c8126f"
],
[
"14cab3e3790683",
"1b295c9a4ea996",
"15bdf41a8baeb8"
]
]
}
},
"ex-outlier-slope": {
"names": [
"gamma0",
"init_variance",
"learning_rate"
],
"tolerance": 0.02,
"right": [
[
"13e1999feaf191",
"1d95f35116bdef",
"1d9158d2ed4349"
],
[
"b9bdf05d730c4",
"10ac377023440e",
"1507346c4bc408"
],
[
"110417293d408a",
"c8ead38d1d232",
"905a2888016bb"
]
],
"hints": {
"these are slopes against the knobs; multiply by their values": [
[
"12ebffadbae776",
"1f1da0d04c78e",
"1b434866ad8a61"
],
[
"11308653c09719",
"23eb970509b1b",
"100b661d3872ff"
],
[
"11b31ac16f5a2a",
"10b8664d8704bb",
"19a7edac515c57"
]
],
"these are changes for one percent of the knob; divide by its logarithm": [
[
"11cd6d7f780098",
"1d2b000bc9694a",
"ab3ad7b793ee0"
],
[
"169102f946b765",
"9f16515d72a9f",
"b5cdd9bbe405c"
],
[
"173df5dd1edb3b",
"1a9456c7b77649",
"17f719ba9e26d1"
]
],
"the step up and the step down are twice the logarithm apart": [
[
"1ea661b44e11a7",
"56c93ae76631b",
"599583be1a5c2"
],
[
"11308653c09719",
"23eb970509b1b",
"100b661d3872ff"
],
[
"1513e343217548",
"176bf33b906efd",
"cd79992d8aafc"
]
],
"these are the slopes at step 10": [
[
"1d9158d2ed4349",
"13e1999feaf191",
"d740d4c927887"
],
[
"42fd08fabc3d0",
"1d6b8f8b5744b4",
"f6a450f1ddb49"
],
[
"de13418e560b2",
"143326f1e7f06a",
"1a0fe7f977209"
]
]
}
},
"ex-parity": {
"names": [],
"tolerance": 0.001,
"right": [
[
"1c614d5f327a1e",
"13454690087936",
"18aaddb4bc5217"
]
],
"hints": {
"the second output is minus the first and asks for nothing new": [
[
"81e192a8c9486",
"1695e8a33e721d",
"161ce7e7e91477"
]
],
"that is the number for ten classes; here there are two": [
[
"9093f14a7434f",
"115cb58eaad4e0",
"5ab8323c3b969"
]
]
}
},
"ex-period-two": {
"names": [],
"tolerance": 0.02,
"right": [
[
"90dbbd1fa09c2",
"14d807babf4d4a",
"13dcfac5a9d59a"
]
],
"hints": {
"one is what the first order says; compute the product from the solution": [
[
"920af46808084",
"65b53a19a8e1c",
"63868c3669046"
]
],
"this is one phase; multiply by the other": [
[
"1989b21bf5b092",
"353bfee9e211a",
"e93d30deb094e"
]
],
"this is the other phase; multiply by the first": [
[
"1b5cde38153549",
"f6129da178dd3",
"9fa5fb52659a2"
]
],
"this is the mean over the phases, not the product": [
[
"199a363577307f",
"7c1f45069be81",
"194fbbf4a8135e"
]
]
}
},
"ex-resolution": {
"names": [],
"tolerance": 0.001,
"right": [
[
"181a80bd4285d4",
"b38cc70822ad",
"9f7596527703f"
],
[
"129449fb1c7ec4",
"19c3150ec55681",
"abce273b49411"
]
],
"hints": {
"the share of the energy, xi/(1 + xi), is to be squared": [
[
"1d29ee19d1f290",
"4b9abe91c454e",
"12e7c7aba9496a"
],
[
"ca1678904f951",
"1b2b6e6a5b0c32",
"7ca615f83bf8b"
]
],
"xi is the energy over that of M_0, not over that of M": [
[
"894ccd735732c",
"187ad81219029d",
"10ab779182877d"
],
[
"3c21b78a32fd8",
"165e4262b52224",
"19eb7d2fc2e994"
]
],
"the distance is the excess times the largest change per unit of excess": [
[
"181a80bd4285d4",
"b38cc70822ad",
"9f7596527703f"
],
[
"ca1678904f951",
"1b2b6e6a5b0c32",
"7ca615f83bf8b"
]
],
"the participation ratio of equal spikes is their number, n/5": [
[
"65eecf3d5684f",
"3643af8537e91",
"10568c80c1dacc"
],
[
"1bedd8d5f0a8c8",
"14c227dc64f894",
"1fe90b864062cb"
]
]
}
},
"ex-rich-edge": {
"names": [],
"tolerance": 0.04,
"right": [
[
"12f351e59f0d1d",
"1943084982ea07",
"35ab1e5b25086"
],
[
"1f3e615bf7116",
"15105c7887e387",
"d3737bfb21c36"
]
],
"hints": {
"the other way round: the first is learning": [
[
"1a8ca5b513bb52",
"1f83a05c420eb3",
"c7c28c21d86a2"
],
[
"51652d959fc05",
"134579390da6c1",
"417bb43f70b4"
]
],
"the first is the square; the singular value is its root": [
[
"8235ed64bc933",
"8fb207e2989c",
"1320ecebe63a"
],
[
"1f3e615bf7116",
"15105c7887e387",
"d3737bfb21c36"
]
],
"the correction is to be multiplied by D/N": [
[
"12f351e59f0d1d",
"1943084982ea07",
"35ab1e5b25086"
],
[
"1d1d79cdc62053",
"11fa2af375534e",
"fa2c57c64c4bc"
]
],
"40 steps are not the end at so small a gamma0; train until nothing changes": [
[
"644a6e1ebd968",
"b70c00fc47709",
"1943084982ea07"
],
[
"d3737bfb21c36",
"1f3e615bf7116",
"6c8f90406536"
]
],
"this is gamma0 = 2, as in the figure": [
[
"19c9038bc7dcdd",
"106408f2c8f2fe",
"1033b45e118be5"
],
[
"1c29493f100120",
"12d2aee4a2314c",
"1616bc80e5ed2f"
]
],
"the edge starts at one; wanted is its change": [
[
"19c9038bc7dcdd",
"106408f2c8f2fe",
"1033b45e118be5"
],
[
"1f3e615bf7116",
"15105c7887e387",
"d3737bfb21c36"
]
]
}
},
"ex-saturation": {
"names": [],
"tolerance": 0.001,
"right": [
[
"b6ddea8f38c4f",
"1a746db1546707",
"1591051b7a77c9"
]
],
"hints": {
"this is for q = 1/2": [
[
"e806d945da2e7",
"2f27355a85f14",
"112b29a5d2d525"
]
],
"this is for q = 2": [
[
"d1b8fa03c4367",
"8a1145c5fcf94",
"7c1a3cd21f3b1"
]
],
"this is sigma; wanted is the variance": [
[
"c4cf6995fd61",
"1824613ed0937a",
"11806f565de435"
]
]
}
},
"ex-scale-sign": {
"names": [],
"tolerance": 0.03,
"right": [
[
"1512ff7a92e447",
"13854b7d4488ca",
"6be584174b24a"
]
],
"hints": {
"a movement in proportion to gamma0 would change sign with it": [
[
"16a14a913dcc43",
"68414a7591daf",
"1b1903d226c49"
]
],
"this is in natural logarithms; divide by that of the ratio of scales": [
[
"12a4a575fceddf",
"1bb141ebbd7b4a",
"fcc76dc5d2c1c"
]
],
"this is the ratio of the movements; the exponent is its logarithm to base two": [
[
"f847e965f2ead",
"3b88187b2fca2",
"269b467fb02d3"
]
]
}
},
"ex-schedule-slope": {
"names": [],
"tolerance": 0.005,
"right": [
[
"3c29ea2e7a6ee",
"a8d86b2ad1af6",
"197c2295bb9369"
],
[
"f1733f3b8fd1a",
"7960cdb4cc595",
"13c80709bf64e8"
],
[
"1dfc91808d8d1f",
"12b8262ffbed1",
"551a6529efdb9"
],
[
"8342169dd96ef",
"1276f861906937",
"18af89760fd985"
],
[
"a9fbb60498ed0",
"1a97fe832ffcff",
"a7d051b23ce5e"
],
[
"7fa0fd638d8c5",
"1289ef69b06a40",
"8e9c71d256827"
],
[
"1b7b0c281ec3e4",
"79aaea1e2c1a3",
"1b2f142471b45a"
],
[
"2b93a0733e351",
"1d09f02b908387",
"32d5f9db7ce6"
],
[
"1198ce426bf322",
"21251664d9a2",
"123a8d8d941a2d"
],
[
"18d3bb293652fb",
"113528c0b0780f",
"70dd4e9be065a"
],
[
"1e899025a55d08",
"1c7d36f890bd01",
"1aa529c257045c"
],
[
"1c9170f7e3b7b4",
"37a2e4d2b2eda",
"1513580408203d"
],
[
"163013e8b612f7",
"165f673ddfc95c",
"94d35935a23d6"
],
[
"1b677764e588c9",
"18bf81f4969687",
"113c79c6356de4"
],
[
"124bfe751c522a",
"33b332b28c6eb",
"c31608bcf4f2"
],
[
"9797363d0f1df",
"1669be21c51ae0",
"d9d500fd03b0b"
]
],
"hints": {
"these are the derivatives of the train loss": [
[
"72c17857c2a53",
"162eaef6821e8d",
"189e2f6a4cff4a"
],
[
"10cdc69eee0761",
"2312eabb8cce6",
"16540f2b5cd98f"
],
[
"1ec34c540523c4",
"19491df289da0f",
"1a6ca2e20769a6"
],
[
"1e878f24550785",
"1e41fe2fdccae5",
"1dd1b31d6e5e3b"
],
[
"40eada800fea3",
"128dc776b346ad",
"1251cfea1ebcc5"
],
[
"13bfce2b9da4b6",
"409ff97f3c801",
"dad1cf99f94e3"
],
[
"c0c46ffff20fe",
"5f921d7920bde",
"61cfbea2bcd35"
],
[
"a7d86e7532c32",
"7eb1a1903bb3",
"3ce1e29c4c6a7"
],
[
"15ba0bcec36893",
"118404fceaf56e",
"f948e111aab7d"
],
[
"15dc4b72e70c24",
"f37a385f66931",
"170b27f0f45544"
],
[
"73be37eacd518",
"1ab978b6b2cfa",
"177d4fffe4e77b"
],
[
"1e36b1323777df",
"93db9b862579",
"16b70093d644b4"
],
[
"18c7ba4c9f6b8c",
"195c25303228a5",
"eb26b3d96f29b"
],
[
"6696882380f8c",
"bc74ec8a8d2ac",
"196461df6aef47"
],
[
"1b6b2e12f337ae",
"1961ed02fc3e78",
"11dde7d5cc13cb"
],
[
"a159e560fdd92",
"10b6fe37c55b9a",
"100751ef65a91"
]
],
"these are derivatives by the logarithms of the rates": [
[
"1fcd0c6e87eb32",
"1d1d8bd32d8883",
"1af18a07cb5d2"
],
[
"105a9e262b91dd",
"4e3d902dfecfb",
"40bd7cee7cb20"
],
[
"124c38f8988856",
"149b955da7f070",
"1c6bfb7bbf7636"
],
[
"5615901647e1c",
"1c7db003713fbb",
"9e95dfd86e7a3"
],
[
"d83d454251940",
"1a0981006886f5",
"a2f08f1c4d4de"
],
[
"1ec78ff54348da",
"12970847ec0c82",
"15b7c39ce3af95"
],
[
"5070e5397ae",
"c194fadd77ec6",
"ea04f3eecb39"
],
[
"1cc7be63c37618",
"1cd8bc82b19200",
"cc572b4b139e3"
],
[
"16eb652e31ad33",
"1d22a3c019bfc0",
"2e9e4bf8efd65"
],
[
"b2671e4a8b704",
"191c09015e0030",
"5b8a1fd88c08f"
],
[
"1e5e9137675922",
"fb1fcf980dc75",
"14a339bb92c5d"
],
[
"1a4994ebc0cba1",
"c0401b77ec2d1",
"6284bbdff5597"
],
[
"6059bf28e8e32",
"55cdb2675a90d",
"3741b4260011d"
],
[
"2168a24042860",
"18788f4cd4c20b",
"19a4c3ca55225f"
],
[
"12a4e22af7b3bf",
"15347b07e5834",
"1f1bb9601e239"
],
[
"158852e81c0aa6",
"47d879aa8db9e",
"1497fc96a120f1"
]
]
}
},
"ex-sign": {
"names": [],
"tolerance": 0.001,
"right": [
[
"7f5ce1ab4cbf2",
"1573ea6ac298ad",
"22399eec02462"
]
],
"hints": {
"the spike is no stranger: the derivative of the sign is a delta function": [
[
"8a38749dcc0b2",
"17dde822048de9",
"801c7d9b42e12"
]
],
"the sign jumps by two at zero, not by one": [
[
"e06065cae82e5",
"1d0ffc0c241f1e",
"1a74ea99cf791c"
]
],
"B is the mean of |u|, the square root of 2/pi, and not 2/pi": [
[
"1b113e2d71de37",
"164db8859df622",
"1ffa9665d3a7a9"
]
],
"with B = 1 this is the linear map": [
[
"a97ed0226c4d8",
"1edc1dc7f52ae5",
"e4e2998acf358"
]
]
}
},
"ex-sign-of-two": {
"names": [],
"tolerance": 0.001,
"right": [
[
"1b22e8da03d45c",
"1877e5801bf3cc",
"1af28db1963487"
],
[
"574237e396b02",
"44772743cbfac",
"123ed07a16a5f7"
],
[
"1086b8a5f79986",
"e821cb5f710ce",
"9553c1f5a84ee"
]
],
"hints": {
"these are the amplitudes of the square wave; a convolution multiplies by half of them": [
[
"1e42f2e929ffbe",
"16a39371bc990f",
"f8de907dfd06e"
],
[
"145b7b31a8e96e",
"1d1815b9ff8065",
"3d4a2885fb0e9"
],
[
"1086b8a5f79986",
"e821cb5f710ce",
"9553c1f5a84ee"
]
],
"each value comes twice, once for the sine and once for the cosine": [
[
"1b22e8da03d45c",
"1877e5801bf3cc",
"1af28db1963487"
],
[
"574237e396b02",
"44772743cbfac",
"123ed07a16a5f7"
],
[
"d0f2d261a013f",
"14861003bc6f2c",
"1a6732eb3a2c49"
]
],
"that is the participation ratio of the gradient itself": [
[
"1b22e8da03d45c",
"1877e5801bf3cc",
"1af28db1963487"
],
[
"574237e396b02",
"44772743cbfac",
"123ed07a16a5f7"
],
[
"c42ec56391718",
"17bc760a3ec91c",
"f000aecb9bc53"
]
]
}
},
"ex-stable-rank": {
"names": [],
"tolerance": 0.001,
"right": [
[
"1988a683121f2c",
"fb7d03750b01f",
"d2b8481ebce5f"
]
],
"hints": {
"the largest singular value enters squared": [
[
"c2750f0e3ca1d",
"1aa569c200fc87",
"194efeb97c4438"
]
],
"the largest singular value is at the edge, not at the root mean square": [
[
"e8154d9f36623",
"ff878f1d14a34",
"1db048dd438fc0"
]
],
"the variance cancels": [
[
"2971dbb43b105",
"b87a5971c5e9c",
"1a3843542e3efe"
]
]
}
},
"ex-strength": {
"names": [],
"tolerance": 0.02,
"right": [
[
"8efcb9f5f6468",
"7919fd87e49f5",
"1545400c09135d"
],
[
"162dffeedb3bd9",
"1387047ca41e4e",
"13ba4172e2d409"
]
],
"hints": {
"the other root is below the threshold, where there is no outlier": [
[
"21a9901d583b1",
"a6d41e165e25a",
"18c035305976eb"
],
[
"cc6038773fdb9",
"138382f8679e27",
"bb825d264b6b7"
]
],
"these are the outliers; solve for the strengths": [
[
"1262bb8479e9ae",
"1673c2538b0ba1",
"111a1d3db57d9"
],
[
"1760cf2721e668",
"5f11620d826c0",
"b2229c2d6914d"
]
],
"the other way round: the first is that of the theory": [
[
"7460365da7600",
"1989f8bdfc763e",
"125a58bfde7e0f"
],
[
"dd81e1f433625",
"1c48e4618e1c8f",
"c7b6c339d4d40"
]
]
}
},
"ex-things-to-say": {
"names": [],
"tolerance": 0.001,
"right": [
[
"fcbd54f246d18",
"82c3a95420ad7",
"1e8df546da7300"
],
[
"4c316e5ca99ea",
"91ace1d0336ef",
"1cb5545ff3626d"
]
],
"hints": {
"the other way round: the logits come first": [
[
"362d3e7471a37",
"1311ec105cdfb2",
"19e90fbf5b3de"
],
[
"186f0cd448a3bb",
"8f8d2b483be1f",
"cf81bffc31810"
]
],
"a constant added to all logits of a digit changes nothing": [
[
"216651d9a58e2",
"63d0750c25d32",
"1d087f4e21d543"
],
[
"4c316e5ca99ea",
"91ace1d0336ef",
"1cb5545ff3626d"
]
],
"probabilities add up to one": [
[
"fcbd54f246d18",
"82c3a95420ad7",
"1e8df546da7300"
],
[
"1cb5545ff3626d",
"4c316e5ca99ea",
"1d3f1da8fbb0de"
]
],
"the logarithm of a product is a sum": [
[
"362d3e7471a37",
"1311ec105cdfb2",
"19e90fbf5b3de"
],
[
"4c316e5ca99ea",
"91ace1d0336ef",
"1cb5545ff3626d"
]
]
}
},
"ex-transfer-horizon": {
"names": [],
"tolerance": 0.02,
"right": [
[
"1c8af3926676ff",
"436760e1cb401",
"1751810f82400f"
],
[
"4b303d3cc5089",
"80b210c767470",
"11fd6da2eae09b"
],
[
"ceeb652229c07",
"dbd9fea0d284b",
"19870060676e18"
]
],
"hints": {
"these are the rates in NTK parameterization": [
[
"4541a76a960ed",
"4a68a8cc06ec2",
"ee3041bc6f80f"
],
[
"97ec44417c726",
"178e125e225420",
"232751e0e83d9"
],
[
"13ee22fae7e42b",
"3bcd441ca12ce",
"762d809f1112e"
]
],
"these are places in the list of rates": [
[
"132d9fa671271c",
"12d828ff9d880b",
"194ff28e6f0be0"
],
[
"2ad730db15207",
"156b865565a823",
"140798a3337f81"
],
[
"57e21301495ad",
"185b4e33b012db",
"197053e47d1a63"
]
],
"these are the losses, not the rates": [
[
"7cdd68f5fbe9f",
"18d2730ad44ab4",
"d159a95100076"
],
[
"1a8c94acc704aa",
"10a995dcf4abaa",
"1eba04e93da01b"
],
[
"e9388a60dce8f",
"129f9a241fa83e",
"37255b3190645"
]
]
}
},
"ex-transfer-infinite": {
"names": [],
"tolerance": 0.005,
"right": [
[
"d751160357dee",
"102240a697ca4f",
"4607c422ff4de"
],
[
"3f7def7d0582e",
"1e4aaedb9e62c3",
"d92a290f984b4"
]
],
"hints": {
"these are the best rates at nu = 16": [
[
"1dadf81bde865d",
"4607c422ff4de",
"e0c4b1f6fd172"
],
[
"113b446d87bbae",
"1d94b267a85161",
"2ae80d49c799e"
]
],
"the other way round: the first is muP": [
[
"c07bda2d61200",
"64da9c93cc340",
"1711c01bc0f758"
],
[
"f3d620fce5f41",
"10fd86a2ef4862",
"13f6f6adf0d833"
]
],
"the two differ at infinite width: one of them is that of a fixed kernel": [
[
"d751160357dee",
"102240a697ca4f",
"4607c422ff4de"
],
[
"f3d620fce5f41",
"10fd86a2ef4862",
"13f6f6adf0d833"
]
]
}
},
"ex-transfer-repair": {
"names": [],
"tolerance": 0.001,
"right": [
[
"a1f41d0089c15",
"10c546dd4f370e",
"11aa852a73e667"
]
],
"hints": {
"gamma grows as the root of the width": [
[
"1971a739000f85",
"192e1cae623f81",
"1d4c28a2ebdb10"
]
],
"the NTK network needs the larger output scale": [
[
"608046fdcfe0c",
"86b90d02e9ca2",
"ea6c6275485f4"
]
],
"with gamma0 kept it is another network": [
[
"1f0789dc68661",
"1ef68a0557f442",
"15c4b0a6218669"
]
]
}
},
"ex-transfer-unlearning": {
"names": [],
"tolerance": 0.001,
"right": [
[
"6a36ea79fba0a",
"f5497f2f5a7ad",
"1c608d800d6325"
]
],
"hints": {
"H_1 has a second term, the echo of w": [
[
"439268605f654",
"63ac95f2256c7",
"1f0ec4be39cb2a"
]
],
"the term of first order has a factor 2": [
[
"12ae054a749c00",
"7affcff83f603",
"144d85c056e00"
]
],
"gamma enters squared": [
[
"1d916b9e591d63",
"989385f7655d0",
"46f742d2e010d"
]
],
"the label noise is missing in H_0": [
[
"5492f41c19179",
"5fea9d0ea18e9",
"32783c5caf4fb"
]
]
}
},
"ex-two-gaussians": {
"names": [],
"tolerance": 0.001,
"right": [
[
"cfd36c89759c4",
"dc4bbf4d8e941",
"1c946852328a05"
],
[
"1dd6991c8fdc95",
"1d589822ca5719",
"1ec726738f9254"
]
],
"hints": {
"the lower edge first": [
[
"1a85ab4b2af64a",
"1f333bf1a5654a",
"19fbe69b1e1c64"
],
[
"1e8bd6849b26b8",
"689d79e7dae51",
"bac717023ed3c"
]
],
"the squared edges are sigma^2 (1 ± sqrt(c))^2": [
[
"e33da57e8fc1c",
"1f36467c3a02b1",
"17b49f65d642b9"
],
[
"36372ec7afdbe",
"65ff0b27a8a5d",
"734cac823ace4"
]
],
"variances add; standard deviations and edges do not": [
[
"16059504286351",
"8008dfad5e281",
"16a74599fe5c9a"
],
[
"5b28cb71e5ead",
"70eea048e2cc7",
"124f5bffac5fc8"
]
],
"these are the edges of one of the two": [
[
"f5aa7c059310f",
"13577584c116fd",
"15573ffb879613"
],
[
"16967bd2c3fcda",
"939d4f8b08e12",
"3aad54d7cc296"
]
],
"these are eigenvalues": [
[
"9f285d587526c",
"43f24c132b1ff",
"1fc9838813e30c"
],
[
"1235449f9e22fa",
"104b07affd0e5b",
"4631351e986aa"
]
]
}
},
"ex-two-outputs": {
"names": [],
"tolerance": 0.001,
"right": [
[
"c6a597d3612c2",
"1e4c07ee5ca081",
"1b2b15921c2962"
],
[
"1f5a24d43cc121",
"1ad2ded14d600a",
"5923586749673"
]
],
"hints": {
"with opposite targets the two readouts get opposite updates": [
[
"c6a597d3612c2",
"1e4c07ee5ca081",
"1b2b15921c2962"
],
[
"3299c483723b9",
"bcebe2ef1661e",
"11ac240bc8ff57"
]
],
"this is the diagonal, the mean square of one readout": [
[
"17c38afae4f3e8",
"1feca7ffdca185",
"8505bae213c89"
],
[
"1781ca52ece8ed",
"1fc89f6b95f87",
"1168bd994b33ad"
]
],
"this is what it was before training": [
[
"19ac3fa33468ea"
],
[
"8e9d4b78dce50"
]
],
"the other way round: the first is for equal targets": [
[
"10cb9d852a57cc",
"cad880ce9197c",
"1b723a3a8b6387"
],
[
"3299c483723b9",
"bcebe2ef1661e",
"11ac240bc8ff57"
]
]
}
},
"ex-two-rows": {
"names": [],
"tolerance": 0.001,
"right": [
[
"1746d214f45f33",
"51c77766ef94e",
"13a4df3978b6a6"
],
[
"1f992eae5d7d38",
"121edd02e6aa58",
"fae0f1b5e9de3"
],
[
"1646a38603f7c4",
"185cd2805a3556",
"1792c5095da1a8"
]
],
"hints": {
"rows of one mean variance are another law: keep the two kinds apart": [
[
"bcb552c659451",
"1e64ea6e500b2b",
"2247eb47237e3"
],
[
"1c31f17ef0d179",
"468d931fcbaf8",
"edc0f8c072730"
],
[
"d0c4ee385c793",
"c86ddde86f61c",
"185cd2805a3556"
]
],
"the variances are the squares, 1/2 and 2": [
[
"1717b8c2c840b8",
"39fa6243c82a1",
"11f432e0452089"
],
[
"128f9044c5fbe2",
"1e90523dd65c3e",
"67c4f267a596a"
],
[
"6397502ce3568",
"aac4b25ec0177",
"1239ec51310c6d"
]
],
"this is the transform of the squares; multiply by s": [
[
"376a239aee14c",
"52931902a5358",
"bde2cda0cef9a"
],
[
"17f29f9c94ddd5",
"ae8a1fd22c83b",
"238fc18dffb5a"
],
[
"2a5afcc49c896",
"1ecb3ea21c29ae",
"38e91b3c909fa"
]
],
"this is the average over the rows; wanted is that over the columns": [
[
"10501db0ec9e48",
"e1b1ec1bc0aa6",
"1bfaa2e29a4a6"
],
[
"88c42b8cc7ffc",
"1518cd6dd5f2e",
"1b6bead750afb0"
],
[
"bdb9532c8d251",
"1be43ae3de6faf",
"d78703f7cc689"
]
]
}
},
"ex-two-scalings": {
"names": [],
"tolerance": 0.001,
"right": [
[
"e4a22f7e3f1e7",
"12d25cc839eb99",
"a13481ecdcbca"
],
[
"14996f6913b7a8",
"7bda25e3e1d3b",
"3677820065564"
]
],
"hints": {
"gamma is gamma0 sqrt(nu), not gamma0 nu": [
[
"e4a22f7e3f1e7",
"12d25cc839eb99",
"a13481ecdcbca"
],
[
"1d940863245d68",
"1b42ea22e9d457",
"1e4621165de524"
]
],
"the NTK network needs the larger output scale": [
[
"e4a22f7e3f1e7",
"12d25cc839eb99",
"a13481ecdcbca"
],
[
"d56eaae5ea124",
"18301bb2f12937",
"1e1971d1ea9951"
]
],
"the other way round: the first is muP": [
[
"c5ec56bf6e6bb",
"18a24a3e158462",
"12df62ed4c80a5"
],
[
"6f204f6b8aa70",
"ffb446c56684c",
"18cbd91c5e02f7"
]
]
}
},
"ex-vacated": {
"names": [],
"tolerance": 0.001,
"right": [
[
"2a79cf1e22536",
"672dc8249dda8",
"1c1f6d4597580e"
],
[
"de38f9fff32ad",
"122b6ffeacbb",
"1332f92e0f4ac2"
]
],
"hints": {
"these are squares": [
[
"13516753738906",
"192aa7e558343d",
"ed5ca54e52762"
],
[
"fa477be0bbc5f",
"a7740ac3d6e7b",
"c4b3a2d4c3cdc"
]
],
"this is theta - sigma; beyond the threshold the edge starts more slowly": [
[
"ee7454e0a02ef",
"1ff1ea9d1d4cea",
"91de4ee1bf03d"
],
[
"172198d409a4aa",
"bb929be0877bf",
"54fecd3591f5a"
]
],
"zero is vacated as soon as theta is beyond sigma": [
[
"10df6c40e9bca8"
],
[
"16e5452366b55d"
]
],
"these are the upper edges": [
[
"76a9f99aae74b",
"1fb9e44120a210",
"1b39530f338182"
],
[
"6b961f635dd11",
"1086c8106828a3",
"1eec50ecf05307"
]
],
"this is where a single spike puts its outlier": [
[
"1f832e9bf22ca4",
"de151fa1c1596",
"1546c52ef39ebf"
],
[
"12435c8486a82c",
"12fc3f0bd03775",
"7f443b4f3b09b"
]
]
}
},
"ex-vanishing-bulk": {
"names": [],
"tolerance": 0.001,
"right": [
[
"582745c3e60d0",
"cb252e1f85c25",
"f0622cfc7372f"
]
],
"hints": {
"a cosine alone vanishes here: the first step is not that of a wave at its crest": [
[
"181141cee4d046",
"78de44cb64501",
"1c45aff382b02f"
]
],
"here the weights have turned round, they do not vanish": [
[
"c28e9b4cd47a8",
"1c77990994ff8c",
"e3e9c790e2a54"
]
],
"the sine counts with the opposite sign": [
[
"c51d080b1ce2d",
"c713e59b17f10",
"1af90a961f1f23"
]
]
}
},
"ex-variance-edge": {
"names": [],
"tolerance": 0.01,
"right": [
[
"1b72518c2a634b",
"11bb40301a52ef",
"1b60fb1a087a78"
]
],
"hints": {
"this is sigma; wanted is the variance": [
[
"dd06b8c08ef6d",
"112f488ccef05e",
"f4c70fa64b3f2"
]
],
"this is for q = 1/2": [
[
"34dc8cafa7638",
"576cfc3eb6102",
"1af5efdf1751b"
]
],
"this maximises G Phi; the strength is its root": [
[
"1ce88f1d3dac51",
"8ee1044bc645b",
"1cf1a271d1fccc"
]
]
}
},
"ex-what-decay-leaves": {
"names": [],
"tolerance": 0.001,
"right": [
[
"cc0877683070f",
"ee4763129085a",
"1dd1dd0b429b91"
],
[
"18beb3f71010ba",
"b84d2dbc36dbb",
"454fc946031aa"
]
],
"hints": {
"the spike shrinks with the matrix where both decay": [
[
"1fd71b94c2b229",
"b9f2f11f4a3a8",
"1fca2cf65c4387"
],
[
"18beb3f71010ba",
"b84d2dbc36dbb",
"454fc946031aa"
]
],
"these are the outliers, not their ratios to the edge": [
[
"89dd31b2a5d7d",
"1615132ec2bbc7",
"1ee5ef5f4354ca"
],
[
"14ad205d7b2382",
"102761eea4b73d",
"1723c570fc116d"
]
],
"the edge of the second matrix has shrunk, too": [
[
"cc0877683070f",
"ee4763129085a",
"1dd1dd0b429b91"
],
[
"f8274cc3a7788",
"136f223fd8753c",
"83e63cb1f42d7"
]
]
}
},
"ex-when-to-stop": {
"names": [],
"tolerance": 0.001,
"right": [
[
"bc88ff015c8cf",
"51f3637ff32bd",
"36fc6741204e"
],
[
"15a5bc853d53bd",
"6a35309a8a37c",
"a665bba16acfb"
],
[
"fcc8de10dbf8d",
"34b3320aa65b3",
"a470785aaf0f4"
]
],
"hints": {
"entry t is the loss after t steps: count from 0": [
[
"fcd263014f097",
"e42814077fa2",
"1a0b1dcc4ce038"
],
[
"791fd09751582",
"74c955bb3685c",
"1c582549ba3f2a"
],
[
"16efbbd68c8db",
"10433b007f70bc",
"464be6069ad28"
]
],
"that is the minimum of the train loss, which only falls": [
[
"1a11197488f27f",
"1a8ae029d5bab4",
"1507ea4e450d55"
],
[
"145b34dd9cda8d",
"1da8b3cafb5759",
"18b1ddf8f5a1ea"
],
[
"196dbaa6401559",
"1dc04e0d992a73",
"1ee80580abf43f"
]
],
"these are the losses, not the steps": [
[
"411ea277d5472",
"ab29b0eb1a4c9",
"1ba839b0c72ca"
],
[
"1f98aecfbc9efb",
"1519befe5c1a55",
"1b4df2e9528142"
],
[
"1e4b1c42bc479c",
"79131b60fd0ea",
"1e1c05a386cd8c"
]
]
}
},
"ex-which-response": {
"names": [],
"tolerance": 0.003,
"right": [
[
"133dbe64fc973a",
"404f3f86b5c75",
"190de55d0764a"
],
[
"14f1d9b5319471",
"1b5d5c92d6ef62",
"1e06a0d1346fcb"
],
[
"15094efdc7a83e",
"1dd9e3518341f6",
"3b4d782d166ee"
]
],
"hints": {
"A is the response of the right vectors, `right_response`, and B that of the left ones": [
[
"3fc9fd706363",
"daa276eaddada",
"7cbf6a6821061"
],
[
"32fbafa515a48",
"17a7c810ab8b84",
"1daed8fb22e946"
],
[
"15094efdc7a83e",
"1dd9e3518341f6",
"3b4d782d166ee"
]
],
"nothing was dropped: this is the theory": [
[
"a28d3662e3080",
"43a1344a15ddb",
"186ad13df531bf"
],
[
"1200e0cc0fd253",
"1eca234ee8f21",
"c9a357d12ea74"
],
[
"138dfa5f363f5e",
"d3552fdd8e4ed",
"a88d62500974d"
]
],
"without either there still is an outlier, of independent spikes": [
[
"133dbe64fc973a",
"404f3f86b5c75",
"190de55d0764a"
],
[
"14f1d9b5319471",
"1b5d5c92d6ef62",
"1e06a0d1346fcb"
],
[
"13bcac22284b9f",
"bc2ddca59af5d",
"164ced703e2d48"
]
]
}
},
"ex-width": {
"names": [],
"tolerance": 0.025,
"right": [
[
"228a5890b3258",
"1baa274cd16f75",
"1b419f08b8acb6"
],
[
"1e79f485f534d1",
"97ce304a3100b",
"fc58d0a6e0808"
],
[
"13f1d3a141a57d",
"147e03b320ce4d",
"1be0eac8947064"
]
],
"hints": {
"these are the numbers of outliers; wanted is where the largest one is": [
[
"ecf7d59708812",
"876127722be5d",
"1622dc66be83c2"
],
[
"4c3fe3aaec337",
"1821f85343e86a",
"9a3366fd7cf05"
],
[
"1ac4979246547f",
"f3d8dcb162190",
"181d7fb23c3774"
]
],
"this is the edge of the bulk; the largest outlier is beyond it": [
[
"16a2034d91f5d4",
"1120f23970b5d5",
"7f63f532de528"
],
[
"7f69cbd6bcc3c",
"74ecc9a75f5b",
"886a77f9abb38"
],
[
"1bd616e39dd615",
"d6765655c5ba7",
"cb29324969653"
]
],
"these are singular values of W; the unit is that of W/sqrt(fan-in)": [
[
"1698468a450813",
"3cfdba3903281",
"16c0e5dc68fd44"
],
[
"2e9d4af3d3971",
"175858ead8741f",
"18fce069a8bc56"
],
[
"16faa9127c5f0a",
"92c1b76ea53a2",
"6bf77164bf59"
]
]
}
}
};
